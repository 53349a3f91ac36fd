"""What a process says while it works."""

from __future__ import annotations

import logging
import sys


def show_logs(level: int) -> None:
    """Prints log lines as they are on standard error; of libraries that talk much, warnings only."""
    logging.basicConfig(level=level, stream=sys.stderr, format="%(message)s", force=True)
    for name in ("httpx", "urllib3", "botocore", "alembic", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
