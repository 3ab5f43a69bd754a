"""The graphs of a model that answers in several parts, as files beside one another; also used by exported models.

A step lies in ``model.onnx``; ``model_encoder.onnx`` reads what is answered to, once; ``model_postnet.onnx`` goes over what all steps gave.
Where frames are said at once ``model_lengths.onnx`` tells how long letters last, and ``model.onnx`` makes the frames.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["encoder_beside", "lengths_beside", "part_beside", "parts_of", "postnet_beside"]

_PARTS = ("encoder", "postnet", "lengths")


def part_beside(path: Path, part: str) -> Path:
    """Where beside the graph of a step another part lies; the graph itself for no name."""
    return path.with_name(f"{path.stem}_{part}{path.suffix}") if part else path


def encoder_beside(path: Path) -> Path:
    """Where beside the graph of a step the one lies that reads its sources."""
    return part_beside(path, "encoder")


def postnet_beside(path: Path) -> Path:
    """Where beside the graph of a step the one lies that goes over what all steps gave."""
    return part_beside(path, "postnet")


def lengths_beside(path: Path) -> Path:
    """Where beside the graph that makes frames the one lies that tells how long letters last."""
    return part_beside(path, "lengths")


def parts_of(path: Path) -> dict[str, Path]:
    """The graph (under no name), and those beside it that are there."""
    beside = {part: part_beside(path, part) for part in _PARTS}
    return {"": path, **{part: place for part, place in beside.items() if place.exists()}}
