"""``pretune`` as a process whose service tests hold: before a batch it waits for the file ``HELD_UNTIL``, where that is given, and
headers are awaited for ``HEADERS_SECONDS``.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from pretune.cli import main
from pretune.serve import server, worker


def hold(gate: Path) -> None:
    """The model answers nothing until the gate is there."""
    predict = worker.predict_items

    def held(*given: Any, **named: Any) -> Any:
        while not gate.exists():
            time.sleep(0.01)
        return predict(*given, **named)

    worker.predict_items = held


if __name__ == "__main__":
    if "HELD_UNTIL" in os.environ:
        hold(Path(os.environ["HELD_UNTIL"]))
    server._HEADERS_SECONDS = float(os.environ.get("HEADERS_SECONDS", server._HEADERS_SECONDS))
    sys.exit(main())
