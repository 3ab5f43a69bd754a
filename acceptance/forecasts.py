"""``python -m acceptance.forecasts OUT``: twenty runs of all modalities, each foretold by ``--dry-run`` and then learned."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from acceptance.places import place_of

_RUNS = {
    "sentences": "finetune scratch:bert-micro --data text/sst2",
    "titles": "finetune scratch:bert-micro --data text/thucnews --max-train-samples 5000",
    "features": "finetune MiniLM --data text/sst2 --adapt head --epochs 20",
    "whole": "finetune MiniLM --data text/sst2 --max-train-samples 500 --epochs 2",
    "low-rank": "finetune MiniLM --data text/subj --max-train-samples 400 --epochs 2 --adapt lora",
    "names": "finetune scratch:bert-micro --data text/conll2003 --max-train-samples 3000 --epochs 3",
    "translation": "finetune scratch:seq2seq-tiny --data text/tatoeba_cmn_eng/cmn.txt --column text=1 --column target=0 --task translation --max-steps 60",
    "masked": "pretrain scratch:bert-micro --data text/sst2 --max-steps 300",
    "next": "pretrain scratch:gpt-micro --data text/tinyshakespeare/input.txt --max-steps 100",
    "photos": "finetune hub/mobilenet_v2_1.0_224 --data vision/hymenoptera --adapt head --epochs 30",
    "photos-whole": "finetune hub/mobilenet_v2_1.0_224 --data vision/hymenoptera --epochs 2",
    "small-pictures": "finetune scratch:resnet-10 --data vision/cifar10_jpeg --max-train-samples 1500 --epochs 4",
    "cells": "finetune hub/mobilenet_v2_1.0_224 --data vision/bccd --max-steps 40 --eval-every 50%",
    "streets": "finetune hub/timm_mobilenetv2_100 --data vision/camvid --ignore-class 11 --image-size 224 --max-steps 60 --eval-every 50%",
    "eyes": "pretrain scratch:vit-micro --data vision/cifar10_jpeg --max-steps 60",
    "digits": "finetune scratch:mel-resnet-tiny --data speech/fsdd --max-steps 300",
    "words": "finetune scratch:w2v-bert-tiny --data speech/fsdd --task speech-recognition --max-steps 200",
    "voice": "finetune scratch:tacotron-tiny --data speech/fsdd --task text-to-speech --max-steps 120",
    "waves": "pretrain scratch:wavenet-tiny --data speech/fsdd --max-steps 120",
    "ears": "pretrain scratch:w2v-bert-tiny --data speech/fsdd --max-steps 150",
}
_KINDS = {"time": "seconds", "memory": "memory_bytes", "disk": "disk_bytes"}
_NEAR = 0.25


def main() -> None:
    """Print for time, memory and disk how many runs took what was foretold within a quarter, and by how much the median missed."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.forecasts", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write; a run that is finished there is not learned again")
    out = parser.parse_args().out
    told = {name: _forecast(name, words.split(), out / name) for name, words in _RUNS.items()}
    found: dict[str, Any] = {"runs": len(told), "by_run": told}
    for kind, key in _KINDS.items():
        apart = [abs(one[key] / one[f"took_{key}"] - 1) for one in told.values()]
        found[kind] = {"near": sum(one <= _NEAR for one in apart), "missed": statistics.median(apart), "most": max(apart)}  # fmt: skip
    sys.stdout.write(json.dumps(found) + "\n")


def _forecast(name: str, words: list[str], out: Path) -> dict[str, float]:
    """What was foretold of a run and what it took, as its run.json says."""
    command = [str(place_of(word) or word) if "/" in word or word == "MiniLM" else word for word in words]
    if not (out / "run.json").exists():
        shared = [sys.executable, "-m", "pretune", *command, "--threads", "1", "--quiet", "--out", str(out)]
        for more in (["--dry-run"], []):
            ended = subprocess.run([*shared, *more], env=os.environ, stdout=subprocess.DEVNULL, check=False)
            if ended.returncode:
                sys.exit(f"{name} ended with code {ended.returncode}: {' '.join([*shared, *more])}")
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))["forecast"]
    sys.stderr.write(f"{name}: " + ", ".join(f"{kind} {told[key] / told[f'took_{key}']:.2f} of the truth" for kind, key in _KINDS.items()) + "\n")  # fmt: skip
    return told


if __name__ == "__main__":
    main()
