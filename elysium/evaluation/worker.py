"""One of the processes that share an evaluation: `python -m elysium.evaluation.worker REQUEST FOLDER INDEX COUNT`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

from elysium.errors import ElysiumError
from elysium.logs import show_logs

logger = logging.getLogger(__name__)


def main() -> None:
    """Measures a share of the items."""
    _end_with_parent()
    show_logs(logging.INFO)
    from elysium.evaluation.evaluating import measure_all
    from elysium.evaluation.opening import open_works
    from elysium.evaluation.request import EvaluationRequest
    from elysium.evaluation.running import Shard

    path, folder, index, count = sys.argv[1:]
    try:
        request = EvaluationRequest.model_validate_json(Path(path).read_bytes())
        measure_all(open_works(request), request, Path(folder), Shard(int(index), int(count)), check=False)
    except ElysiumError as error:
        logger.error("process %s of %s: %s", index, count, error)
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    """Ends this process when who started it is gone, also by kill -9: every result that landed is on the disk."""

    def watch() -> None:
        # Not through `sys.stdin`, whose lock would be held when the interpreter ends.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="elysium-parent", daemon=True).start()


if __name__ == "__main__":
    main()
