"""Loss curves of tiny runs, one an objective. A refactor must reproduce them; a change of numbers is a decision that is written down.

``python -m tests.golden --write`` writes the curves anew, ``python -m tests.golden`` compares. A curve goes with the weights that
it starts from (``start`` is the sum of their amounts), which transformers draws.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CONSTRAINTS = FOLDER.parents[1] / "constraints.txt"
TOLERANCE = 1e-4
"""Relative. Processors and versions of the libraries add up in other orders, and twenty updates multiply the difference."""

SAME_WEIGHTS = 1e-6
"""Relative, of the sum of the first weights: the same draws, added up in another order."""

RUNS: dict[str, dict[str, Any]] = {
    "finetune": {"kind": "finetune", "dropout": 0.1, "micro_batch_size": 3, "steps": 20, "learning_rate": 5e-3},
    "multilabel": {"kind": "multilabel", "dropout": 0.1, "micro_batch_size": 3, "steps": 20, "learning_rate": 5e-3},
    "pretrain": {
        "kind": "pretrain",
        "dropout": 0.1,
        "mask_whole_words": True,
        "schedule": "cosine",
        "steps": 20,
        "learning_rate": 5e-3,
    },
    "masked-image": {"kind": "masked-image", "family": "vit-micro", "micro_batch_size": 3, "steps": 20},
    "contrastive-image": {"kind": "contrastive-image", "family": "vit-micro", "steps": 20, "learning_rate": 1e-4},
    "self-distillation-image": {
        "kind": "self-distillation-image",
        "family": "vit-micro",
        "steps": 20,
        "learning_rate": 1e-4,
    },
    "sound": {"kind": "sound", "augment": "light", "micro_batch_size": 3, "steps": 20},
    "speech": {"kind": "speech", "augment": "strong", "micro_batch_size": 3, "steps": 20},
    "speech-features": {"kind": "speech", "hears": "features", "augment": "strong", "micro_batch_size": 3, "steps": 20},
    "masked-audio": {"kind": "masked-audio", "steps": 20},
    "contrastive-clips": {"kind": "contrastive-clips", "steps": 20},
    "contrastive-audio": {"kind": "contrastive-audio", "steps": 20},
    "distil-masked": {
        "kind": "distil-masked",
        "dropout": 0.1,
        "micro_batch_size": 3,
        "steps": 20,
        "learning_rate": 5e-3,
    },
    "distil-clips": {"kind": "distil-clips", "micro_batch_size": 3, "steps": 20},
    "distil": {
        "kind": "distil",
        "hidden": True,
        "attention": True,
        "dropout": 0.1,
        "micro_batch_size": 3,
        "steps": 20,
        "learning_rate": 5e-3,
    },
}


def curve(name: str) -> dict[str, list[float]]:
    """Loss, gradient norm and learning rate of every update of a run, with one thread, in fp32; and where it ``start``s."""
    import torch

    from tiny import Rig

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rig = Rig(**RUNS[name])
        start = sum(float(weight.double().abs().sum()) for weight in rig.model.state_dict().values())
        steps = rig.train()
    finally:
        torch.set_num_threads(before)
    return {
        "start": [round(start, 3)],
        "loss": [round(step.loss, 7) for step in steps],
        "grad_norm": [round(step.grad_norm, 7) for step in steps],
        "learning_rate": [round(step.learning_rate, 12) for step in steps],
    }


def stored(name: str) -> dict[str, list[float]]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def write(name: str) -> Path:
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(curve(name), indent=1) + "\n", encoding="utf-8")
    return path


def is_drawn_otherwise(found: dict[str, list[float]], name: str) -> bool:
    """Does the run start from other weights because another version of transformers drew them?

    Versions draw some weights in another order or by another law: no curve of such weights is stored. With the version of
    ``constraints.txt`` other weights are our own doing.
    """
    pinned = re.search(r"^transformers==(\S+)$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    is_moved = abs(found["start"][0] / stored(name)["start"][0] - 1) > SAME_WEIGHTS
    return is_moved and version("transformers") != pinned.group(1)


def largest_relative_difference(found: dict[str, list[float]], name: str) -> float:
    wanted = stored(name)
    assert found.keys() == wanted.keys()
    wanted.pop("start")
    pairs = [pair for key in wanted for pair in zip(found[key], wanted[key], strict=True)]
    return max(abs(now - then) / max(abs(then), 1e-12) for now, then in pairs)
