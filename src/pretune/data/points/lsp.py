"""Leeds Sports Pose: a folder of pictures ``im0001.jpg``, ... and ``joints.mat`` with the 14 joints of each (Johnson and Everingham 2010,
"Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation"; the extended set: 2011).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np

from pretune.data.archives.streams import Entry
from pretune.data.formats.base import Chunk, Table
from pretune.data.media.base import pictures_in
from pretune.errors import DataError

__all__ = ["LSP_JOINTS", "joints_in", "lsp_table"]

LSP_JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow", "right_shoulder",
    "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
)  # fmt: skip
_FILE = "joints.mat"
_NUMBER = re.compile(r"(\d+)\D*$")
_MOST_BYTES = 2**28
_CHUNK_ROWS = 500


def joints_in(entries: Sequence[Entry]) -> Entry | None:
    """The ``joints.mat`` beside numbered pictures; None where there is none."""
    joints = [entry for entry in entries if PurePosixPath(entry.inner).name == _FILE]
    pictures = [entry for entry in pictures_in(entries) if _number_of(entry) is not None]
    return joints[0] if len(joints) == 1 and pictures else None


def _number_of(entry: Entry) -> int | None:
    match = _NUMBER.search(PurePosixPath(entry.inner).stem)
    return int(match[1]) if match else None


def _joints_of(entry: Entry) -> tuple[np.ndarray, bool]:
    """Joints (N, 14, 3) and whether their flags say which are marked: of LSP itself all are. Raises :class:`DataError`."""
    from scipy.io import loadmat

    problem = "it holds no array `joints` of 14 joints with 3 numbers each"
    try:
        if entry.size > _MOST_BYTES:
            raise ValueError(f"it has {entry.size:,} bytes")
        with entry.open() as stream:
            held = loadmat(io.BytesIO(stream.read()), variable_names=["joints"])
        found = np.asarray(held["joints"], dtype=np.float64)
    except KeyError:
        found = np.zeros(0)
    except (NotImplementedError, ValueError, TypeError, OSError, MemoryError) as error:
        found, problem = np.zeros(0), str(error)[:200]
    if found.ndim == 3 and found.shape[:2] == (14, 3):
        return found.transpose(2, 0, 1), True
    if found.ndim == 3 and found.shape[:2] == (3, 14):
        return found.transpose(2, 1, 0), False
    raise DataError(f"{entry.name} cannot be read: {problem}", "copy the file again, or write a table of points")


def lsp_table(entry: Entry, pictures: Sequence[Entry]) -> Table:
    """One row a picture, its points those of the column that its file's number names (from 1)."""
    joints_N143, flagged = _joints_of(entry)
    known = [(picture, number) for picture in pictures if (number := _number_of(picture)) is not None]
    facts: dict[str, object] = {"format": "pictures with joints.mat (LSP)", "files": len(known)}

    def points_of(number: int) -> list[list[float]] | None:
        if not 1 <= number <= len(joints_N143):
            return None
        points = joints_N143[number - 1].tolist()
        return points if flagged else [[x, y, 1.0] for x, y, _ in points]

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(known), _CHUNK_ROWS):
            some = known[start : start + _CHUNK_ROWS]
            values = {
                "file": [picture for picture, _ in some],
                "name": [picture.name for picture, _ in some],
                "keypoints": [points_of(number) for _, number in some],
            }
            yield Chunk(range(start + 1, start + 1 + len(some)), values.__getitem__)

    found = Table(
        ("file", "name", "keypoints"), False, chunks(), facts, class_names={"keypoints": LSP_JOINTS},
        roles={"image": "file", "id": "name", "keypoints": "keypoints"},
    )  # fmt: skip
    if skipped := len(pictures) - len(known):
        found.notes.append(f"{entry.name}: {skipped} pictures without a number in their name are left out.")
    if missing := sum(not 1 <= number <= len(joints_N143) for _, number in known):
        found.notes.append(f"{entry.name} has joints of {len(joints_N143)} pictures; {missing} have a higher number.")
    return found
