"""``python -m benchmarks [fine-tune|head|top|pretrain|causal|text-to-text|predict|boxes|boxes-frozen|start|all]``: measure, print the tables, write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.measure import measure, measure_start, run_module
from benchmarks.plan import KINDS, PICTURE_KINDS, Plan, plan_of
from benchmarks.table import render

START_REPEATS = 5


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--repeats", type=int, help="runs of each side (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="fewer rows, one run: about 10 minutes in place of 60")
    parser.add_argument("--out", type=Path, default=Path("benchmarks.json"), help="file for the figures")
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure_all(kinds: tuple[str, ...], plan: Plan, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    wanted = {"benchmarks.prepare": set(kinds) - {"start", *PICTURE_KINDS}, "benchmarks.pictures": set(kinds) & set(PICTURE_KINDS)}  # fmt: skip
    for module in (name for name, some in wanted.items() if some):
        _tell(f"preparing what is learned from: {module}")
        run_module(
            module, str(folder), json.dumps(plan.to_dict()), log=folder / f"{module}.txt", cache=folder / "cache"
        )
    for kind in kinds:
        try:
            found[kind] = measure_start(START_REPEATS, folder / "start.txt") if kind == "start" else measure(kind, plan, folder, _tell)  # fmt: skip
        except RuntimeError as problem:  # what was measured before it, for half an hour maybe, is not lost
            _tell(f"{kind} could not be measured: {problem}")
    return found


def main() -> None:
    arguments = _arguments()
    plan = plan_of(quick=arguments.quick, repeats=arguments.repeats)
    kinds = KINDS if arguments.kind == "all" else (arguments.kind,)
    began, first_load = time.time(), machine.load()
    facts = machine.facts()
    with tempfile.TemporaryDirectory(prefix="pretune-bench-") as folder:
        found = _measure_all(kinds, plan, Path(folder))
    loads = [run["load"] for kind in found.values() if "runs" in kind for side in kind["runs"].values() for run in side]
    result = {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "when": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
        "machine": facts,
        "plan": plan.to_dict(),
        "load": [min([first_load, *loads]), max([first_load, *loads])],
        **found,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(render(result))
    if set(kinds) - set(found):
        sys.exit(1)


if __name__ == "__main__":
    main()
