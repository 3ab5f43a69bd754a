"""Data that was changed is read again, however its size and times were kept."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pretune.config import DataSettings
from pretune.data.archives import streams as archive
from pretune.data.read import read

OLD, NEW = "the cup final was held at home", "the cup final was lost at home"


def table(word: str) -> str:
    return "text,label\n" + "".join(f"row {n} {word},{'ab'[n % 2]}\n" for n in range(200))


def written(path: Path, word: str) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as held:
            held.writestr(zipfile.ZipInfo("rows.csv"), table(word))
    else:
        path.write_text(table(word))
    return path


def texts(place: Path) -> str:
    return " ".join(read(DataSettings(data=str(place)))["train"]["text"])


def rewrite(path: Path, tmp_path: Path) -> None:
    """As ``cp -p`` does: other bytes, the same size, the times of before."""
    before = path.stat()
    written(path, NEW)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path, tmp_path: Path) -> None:
    """As ``rsync -t`` does: another file takes the place of the old one."""
    before, aside = path.stat(), tmp_path / f"aside{path.suffix}"
    written(aside, NEW)
    os.utime(aside, ns=(before.st_atime_ns, before.st_mtime_ns))
    aside.replace(path)


@pytest.mark.parametrize("change", [rewrite, replace])
@pytest.mark.parametrize("name", ["rows.csv", "rows.zip", "folder/rows.csv"])
def test_the_change_is_seen(tmp_path: Path, name: str, change: Callable[[Path, Path], None]):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    place = path.parent if "/" in name else path
    written(path, OLD)
    assert OLD in texts(place)
    change(path, tmp_path)
    assert OLD not in texts(place)
    assert NEW in texts(place)


@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_on_a_disk_that_keeps_only_times_that_can_be_set_the_bytes_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: float
):
    monkeypatch.setattr(archive, "stamp_of_file", lambda info: (info.st_size,))
    path = written(tmp_path / "rows.csv", OLD)
    before = texts(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"home", min(int(place * len(content)), len(content) - 60))
    content[at : at + 4] = b"away"
    path.write_bytes(content)
    assert texts(path) != before
