"""The reliability harness: `make reliability` runs it in full, the tests a short form.

    python tests/reliability/harness.py [--short] [--only NAME] [--seed N] [--trial N] [--work FOLDER] [--json FILE]

One line an experiment, then a JSON summary; exit code 1 when a promise was broken. A failing trial keeps its folder and
is repeated by ``--only NAME --seed N --trial N``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}

sys.path.append(str(Path(__file__).parents[1]))

from disks import all_corrupt, bit_flips, crash_points, full_disks
from folders import absurd_folders, damage_at_rest
from fuzz import fuzz_readers
from fuzz_service import fuzz_service
from interruptions import kills, races, terminations
from lab import Broken, Lab
from trials import Plan, Report
from updates import non_finite, out_of_memory

EXPERIMENTS = {
    "damage-at-rest": damage_at_rest,
    "absurd-folders": absurd_folders,
    "bit-flips": bit_flips,
    "all-corrupt": all_corrupt,
    "non-finite": non_finite,
    "out-of-memory": out_of_memory,
    "races": races,
    "terminations": terminations,
    "full-disks": full_disks,
    "kills": kills,
    "crash-points": crash_points,
    "fuzz-readers": fuzz_readers,
    "fuzz-service": fuzz_service,
}


def main() -> int:
    """Run what was asked for; the exit code."""
    asked = _arguments()
    work = Path(asked.work or tempfile.mkdtemp(prefix="pretune-reliability-")).resolve()
    plan = Plan(seed=asked.seed, full=not asked.short, only_trial=asked.trial)
    began, reports = time.monotonic(), []
    lab = Lab(work / f"lab-{os.getpid()}")
    for name, experiment in EXPERIMENTS.items():
        if asked.only and name not in asked.only:
            continue
        try:
            report = experiment(lab, plan)
        except Broken as broken:
            report = Report(name, "it could be prepared", trials=1, failures=[{"problem": str(broken)}])
        reports.append(report)
        _say(report.line(), *(f"       {failure}" for failure in report.failures[:5]))
    passed = all(report.passed for report in reports)
    if passed:
        shutil.rmtree(work if not asked.work else lab.folder, ignore_errors=True)
    summary = {
        "passed": passed, "seed": asked.seed, "full": plan.full, "seconds": round(time.monotonic() - began, 1),
        "experiments": [report.to_dict() for report in reports],
    }  # fmt: skip
    _say(json.dumps(summary, ensure_ascii=False))
    if asked.json:
        Path(asked.json).write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return 0 if passed else 1


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill, fill, flip and race runs of pretune, and count what survives.")
    parser.add_argument("--short", action="store_true", help="a few trials of each experiment, under a minute")
    parser.add_argument(
        "--only", action="append", choices=sorted(EXPERIMENTS), help="this experiment (may be repeated)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")
    parser.add_argument("--trial", type=int, help="this trial alone")
    parser.add_argument("--work", help="folder to work in; default: a temporary one")
    parser.add_argument("--json", help="file for the summary")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
