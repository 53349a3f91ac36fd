"""What this machine and its environment say of workspaces on S3."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from pathlib import Path

from elysium.pipeline.remote_keeper import SECONDS
from elysium.pipeline.seconds import seconds_of


def endpoint() -> str | None:
    """Returns the URL of the S3 server, None for AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def scratch_folder() -> Path:
    """Returns where the folders of runs on S3 are: `ELYSIUM_SCRATCH`, else one of this user's."""
    named = os.environ.get("ELYSIUM_SCRATCH")
    if named:
        return Path(named).expanduser().resolve()
    # Others of this machine have folders of their own.
    return Path(tempfile.gettempdir()).resolve() / f"elysium-{os.getuid()}"


def save_seconds() -> float:
    """Returns how long it is between two copies of half-done work, by `ELYSIUM_SAVE_SECONDS`.

    Raises:
        UsageError: If that is no number above 0.
    """
    return seconds_of("ELYSIUM_SAVE_SECONDS", SECONDS)


def machine_name(home: Path) -> str:
    """Returns what names the scratch folder: whoever finds it in a lease knows that its writer worked right here."""
    path = home / ".machine"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
        file.write(uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")
