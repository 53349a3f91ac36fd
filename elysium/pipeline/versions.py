"""Which code is running: the release, and in a checkout the commit."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from elysium import __version__


@functools.cache
def code_version() -> str:
    """Returns `0.1.0+abcdef123456`, with `.dirty` after uncommitted changes to tracked files.

    The commit comes from `ELYSIUM_COMMIT` (set in container images), else from git, else it is left out.
    """
    commit = os.environ.get("ELYSIUM_COMMIT") or _git_commit(Path(__file__).resolve().parents[2])
    return f"{__version__}+{commit}" if commit else __version__


def _git_commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + (".dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
