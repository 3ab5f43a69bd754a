"""Malformed pictures and sound: rows are left out, counted and told, or refused in one clear sentence; never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.media import audio as media_audio
from pretune.data.media.audio import decode_audio
from pretune.data.media.image import decode_image
from pretune.data.read import read
from pretune.errors import DataError

RATE = 8_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def png(seed: int = 0, size: tuple[int, int] = (64, 48), form: str = "PNG", **options: Any) -> bytes:
    """An encoded picture of noise."""
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(buffer, form, **options)
    return buffer.getvalue()


def clip(
    seed: int = 0, seconds: float = 0.2, form: str = "WAV", subtype: str | None = None, channels: int = 1
) -> bytes:
    """An encoded clip of noise."""
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    samples = rng.uniform(-0.5, 0.5, (int(seconds * RATE), channels)).astype(np.float32)
    soundfile.write(buffer, samples, RATE, format=form, subtype=subtype)
    return buffer.getvalue()


def header_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def not_finite(value: float) -> bytes:
    samples = np.zeros(800, dtype=np.float32)
    samples[10:13] = value
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def wav_header(rate: int = RATE, channels: int = 1, claimed: int = 1600, held: int = 1600) -> bytes:
    """A WAV file whose header says what it likes."""
    block = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", (len(body) + claimed) & 0xFFFFFFFF) + body + b"\1\0" * (held // 2)


def swapped(data: bytes, place: int) -> bytes:
    """The file with a hole in it."""
    return data[:place] + bytes(len(data[place : place + 400])) + data[place + 400 :]


def nan_tiff() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


IMAGES: list[tuple[str, str, bytes, str]] = [
    ("empty file", "bad.jpg", b"", "empty"),
    ("text named jpg", "bad.jpg", b"hello, this is no picture\n" * 9, "foreign"),
    ("clip named png", "bad.png", clip(), "foreign"),
    ("page named jpg", "bad.jpg", b"<html><body>404 Not Found</body></html>", "foreign"),
    ("signature only", "bad.png", b"\x89PNG\r\n\x1a\n", "foreign"),
    ("truncated jpeg", "bad.jpg", png(1, form="JPEG", quality=90)[:1500], "broken"),
    ("truncated png", "bad.png", png(1)[:4000], "broken"),
    ("truncated gif", "bad.gif", png(1, form="GIF")[:900], "broken"),
    ("truncated webp", "bad.webp", png(1, form="WEBP", lossless=True)[:900], "broken"),
    ("truncated bmp", "bad.bmp", png(1, form="BMP")[:900], "broken"),
    ("truncated tiff", "bad.tiff", png(1, form="TIFF")[:900], "broken"),
    ("corrupt png", "bad.png", swapped(png(1), 2000), "broken"),
    ("jpeg header without scan", "bad.jpg", png(1, form="JPEG")[:200], "foreign broken"),
    ("bomb of 3 Gpx", "bad.png", header_png(60_000, 50_000), "too_large"),
    ("100 Mpx, under the library's own limit of errors", "bad.png", header_png(10_000, 10_000), "too_large"),
    ("header of no size", "bad.png", header_png(0, 10), "foreign broken"),
    ("header larger than its pixels", "bad.png", header_png(3_000, 3_000), "broken"),
    ("PostScript program", "bad.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "foreign"),
    ("vector drawing", "bad.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "foreign"),
    ("values that are no numbers", "bad.tif", nan_tiff(), "broken"),
]
CLIPS: list[tuple[str, str, bytes, str]] = [
    ("empty clip file", "bad.wav", b"", "empty"),
    ("0 seconds", "bad.wav", clip(seconds=0), "empty"),
    ("0 seconds of flac", "bad.flac", clip(seconds=0, form="FLAC"), "empty"),
    ("text named wav", "bad.wav", b"hello, this is no sound\n" * 9, "foreign"),
    ("picture named flac", "bad.flac", png(), "foreign"),
    ("header only", "bad.wav", clip()[:30], "foreign"),
    ("cut off wav", "bad.wav", clip()[:1000], "broken"),
    ("cut off flac", "bad.flac", clip(seconds=2, form="FLAC")[:6000], "broken"),
    ("corrupt flac", "bad.flac", swapped(clip(seconds=2, form="FLAC"), 5000), "broken"),
    ("not a number", "bad.wav", not_finite(float("nan")), "not_finite"),
    ("infinite", "bad.wav", not_finite(float("inf")), "not_finite"),
    ("claims 2 GiB", "bad.wav", wav_header(claimed=2**31 - 100), "broken"),
    ("claims a rate of 4 GHz", "bad.wav", wav_header(rate=4_000_000_000), "foreign broken"),
    ("claims a rate of 0", "bad.wav", wav_header(rate=0), "foreign broken"),
    ("claims 60,000 channels", "bad.wav", wav_header(channels=30_000), "foreign broken"),
    ("a list of clips named mp3", "bad.mp3", b"#EXTM3U\nhttp://example.org/a.mp3\n", "foreign"),
]


def good_files(folder: Path, kind: str, count: int = 4) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        name, data = (f"good{number}.png", png(number)) if kind == "image" else (f"good{number}.wav", clip(number))
        (folder / name).write_bytes(data)
    return folder


def check_left_out(place: Path, kind: str, allowed: str, kept: int = 4) -> dict[str, Any]:
    splits = read(DataSettings(data=str(place)))
    assert sum(len(rows) for rows in splits.values()) == kept
    facts = splits.facts["read"]
    (reason,) = facts["media"]["left_out"]
    assert reason in allowed.split()
    assert facts["media"]["left_out"][reason]["count"] == 1
    assert any(note.startswith("Left out: ") and "1 " in note for note in facts["notes"])
    decode = decode_image if kind == "image" else lambda held: decode_audio(held, 16_000)
    for rows in splits.values():
        for cell in rows[:][kind]:
            decode(cell)
    return facts


@pytest.mark.parametrize(("what", "name", "data", "reason"), IMAGES, ids=[case[0] for case in IMAGES])
def test_broken_pictures_are_left_out(tmp_path: Path, what: str, name: str, data: bytes, reason: str) -> None:
    folder = good_files(tmp_path / "set", "image")
    (folder / name).write_bytes(data)
    facts = check_left_out(folder, "image", reason)
    assert any(name in note for note in facts["notes"])
    with pytest.raises(DataError, match=name):
        decode_image({"bytes": data, "path": name})
    (folder / "only").mkdir()
    (folder / "only" / name).write_bytes(data)
    with pytest.raises(DataError, match="1 of 1 pictures cannot be used"):
        read(DataSettings(data=str(folder / "only")))


@pytest.mark.parametrize(("what", "name", "data", "reason"), CLIPS, ids=[case[0] for case in CLIPS])
def test_broken_clips_are_left_out(tmp_path: Path, what: str, name: str, data: bytes, reason: str) -> None:
    folder = good_files(tmp_path / "set", "audio")
    (folder / name).write_bytes(data)
    check_left_out(folder, "audio", reason)
    with pytest.raises(DataError, match=name):
        decode_audio({"bytes": data, "path": name}, 16_000)
    (folder / "only").mkdir()
    (folder / "only" / name).write_bytes(data)
    with pytest.raises(DataError, match="1 of 1 clips cannot be used"):
        read(DataSettings(data=str(folder / "only" / name)))


def test_a_clip_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_audio, "MAX_SECONDS", 1.0)
    folder = good_files(tmp_path / "set", "audio")
    (folder / "long.wav").write_bytes(clip(seconds=1.5))
    check_left_out(folder, "audio", "too_long")


def test_clips_that_only_look_odd_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "stream.wav").write_bytes(wav_header(claimed=0xFFFFFFFF))  # written to a pipe: the length was not known
    (folder / "eight.wav").write_bytes(clip(1, channels=8))
    (folder / "wrong.wav").write_bytes(clip(2, form="FLAC"))
    (folder / "bytes.wav").write_bytes(clip(3, subtype="PCM_U8"))
    splits = read(DataSettings(data=str(folder)))
    assert len(splits["unlabelled"]) == 4
    assert splits.facts["read"]["media"]["changes"] == {"mixed_to_mono": 1, "wrong_extension": 1}
    for cell in splits["unlabelled"][:]["audio"]:
        assert np.isfinite(decode_audio(cell, 16_000)).all()


def test_pictures_that_only_look_odd_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "dot.png").write_bytes(png(1, (1, 1)))
    (folder / "line.png").write_bytes(png(2, (5_000, 1)))
    (folder / "odd exif.jpg").write_bytes(png(3, form="JPEG", exif=b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff"))
    (folder / "名前 🐝.png").write_bytes(png(4))
    (folder / "UPPER.JPEG").write_bytes(png(5, form="JPEG"))
    splits = read(DataSettings(data=str(folder)))
    assert len(splits["unlabelled"]) == 5
    assert [decode_image(cell).mode for cell in splits["unlabelled"][:]["image"]] == ["RGB"] * 5


def link_out(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(png(9))
    (folder / "bad.png").symlink_to(folder.parent / "secret.png")


def link_to_nothing(folder: Path) -> None:
    (folder / "bad.png").symlink_to(folder / "gone.png")


def link_to_itself(folder: Path) -> None:
    (folder / "bad.png").symlink_to(folder / "bad.png")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad.png")


def locked(folder: Path) -> None:
    (folder / "bad.png").write_bytes(png(9))
    (folder / "bad.png").chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root can read every file")


PLACES: list[tuple[str, Callable[[Path], None], str]] = [
    ("link out of the folder", link_out, "outside"),
    ("link to nothing", link_to_nothing, "missing unreadable"),
    ("link to itself", link_to_itself, "outside missing unreadable"),
    ("pipe", pipe, "unreadable"),
    ("file without permission", locked, "unreadable"),
]


@pytest.mark.parametrize(("what", "make", "reason"), PLACES, ids=[case[0] for case in PLACES])
def test_files_that_cannot_be_opened(tmp_path: Path, what: str, make: Callable[[Path], None], reason: str) -> None:
    folder = good_files(tmp_path / "set", "image")
    make(folder)
    check_left_out(folder, "image", reason)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    folder = good_files(tmp_path / "set", "image")
    (folder / "again.png").symlink_to("good0.png")
    assert len(read(DataSettings(data=str(folder)))["unlabelled"]) == 5


CELLS: list[tuple[str, Any, str]] = [
    ("missing file", "gone.png", "missing"),
    ("path out of the folder", "../secret.png", "outside"),
    ("path out to a system file", "../../../../../../../../etc/passwd", "outside"),
    ("whole path out of the folder", "/etc/hostname", "outside"),
    ("no name", "", "missing"),
    ("null", None, "missing"),
    ("folder", "sub", "missing unreadable"),
    ("NUL in the name", "good0\0.png", "missing"),
    ("name longer than the system allows", "x" * 5_000 + ".png", "missing unreadable"),
    ("link that leads out", "out.png", "outside"),
    ("number", 17, "missing"),
]


@pytest.mark.parametrize(("what", "cell", "reason"), CELLS, ids=[case[0] for case in CELLS])
def test_manifest_rows_without_a_usable_file(tmp_path: Path, what: str, cell: Any, reason: str) -> None:
    folder = good_files(tmp_path / "set", "image")
    (tmp_path / "secret.png").write_bytes(png(9))
    (folder / "sub").mkdir()
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    rows = [{"image": f"good{number}.png", "label": "ab"[number % 2]} for number in range(4)]
    path = folder / "list.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, {"image": cell, "label": "a"}]) + "\n")
    splits = read(DataSettings(data=str(path), column=("image=image",)))
    assert len(splits["train"]) == 4
    (found,) = splits.facts["read"]["media"]["left_out"]
    assert found in reason.split()


def test_more_than_half_lost_is_refused_with_the_kinds(tmp_path: Path) -> None:
    folder = good_files(tmp_path / "set", "image", count=1)
    (folder / "list.csv").write_text("image,label\ngood0.png,a\ngone1.png,b\n../x.png,b\n")
    with pytest.raises(DataError) as caught:
        read(DataSettings(data=str(folder)))
    assert "2 of 3 pictures cannot be used" in caught.value.problem
    assert "1 is not there: gone1.png." in caught.value.problem
    assert "../x.png" in caught.value.problem
    assert "relative to the file that holds them" in caught.value.fix


def zipped(path: Path, members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if change is not None:
                change(info)
            archive.writestr(info, data)
    return path


def as_link(info: zipfile.ZipInfo) -> None:
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16


def test_archives_that_lead_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leads out of the archive"):
        read(DataSettings(data=str(zipped(tmp_path / "a.zip", {"a/1.png": png(1), "../../b/2.png": png(2)}))))
    with pytest.raises(DataError, match="symbolic link"):
        read(DataSettings(data=str(zipped(tmp_path / "b.zip", {"a/1.png": b"/etc/passwd"}, as_link))))
    (tmp_path / "c").mkdir()
    whole = zipped(tmp_path / "c" / "c.zip", {f"a/{i}.png": png(i) for i in range(3)}).read_bytes()
    (tmp_path / "c" / "c.zip").write_bytes(whole[:-60])
    with pytest.raises(DataError, match="not a whole zip archive"):
        read(DataSettings(data=str(tmp_path / "c")))


def test_damaged_members_are_left_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"a/{i}.png": png(i) for i in range(4)})
    data = bytearray(path.read_bytes())
    at = data.index(png(2)) + 500
    data[at : at + 4] = b"\0\0\0\0"  # the checksum of the member no longer fits
    path.write_bytes(bytes(data))
    check_left_out(path, "image", "broken", kept=3)


def test_repeated_names_in_an_archive_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the library warns of the second name
        for number in range(3):
            archive.writestr("a/same.png", png(number))
    splits = read(DataSettings(data=str(path)))
    assert len(set(splits["unlabelled"][:]["id"])) == 3
    assert any("numbered instead" in note for note in splits.facts["read"]["notes"])


def test_empty_class_folders_and_one_class(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    good_files(folder / "train" / "ant", "image")
    (folder / "train" / "bee").mkdir()
    splits = read(DataSettings(data=str(folder)))
    assert splits.facts["read"]["labels"] == {"ant": 4}
    assert any("train/bee" in note and "folders without files" in note for note in splits.facts["read"]["notes"])


def test_a_folder_of_half_pictures_half_clips_is_refused(tmp_path: Path) -> None:
    folder = good_files(tmp_path / "set", "image", 6)
    for number in range(6):
        (folder / f"{number}.wav").write_bytes(clip(number))
    with pytest.raises(DataError, match="6 pictures and 6 clips"):
        read(DataSettings(data=str(folder)))


def test_a_cover_among_clips_is_told(tmp_path: Path) -> None:
    folder = good_files(tmp_path / "set", "audio")
    (folder / "cover.jpg").write_bytes(png(form="JPEG"))
    splits = read(DataSettings(data=str(folder)))
    assert len(splits["unlabelled"]) == 4
    assert any("cover.jpg" in note for note in splits.facts["read"]["notes"])


def test_bytes_in_a_table_may_be_broken_or_null(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": png(i), "path": None} for i in range(4)]
    cells += [
        {"bytes": b"junk", "path": "a.png"},
        {"bytes": None, "path": None},
        {"bytes": None, "path": "/etc/passwd"},
    ]
    held = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array([*cells, None], held), "label": list("abababab")}), tmp_path / "a.parquet"
    )
    splits = read(DataSettings(data=str(tmp_path / "a.parquet")))
    assert len(splits["train"]) == 4
    assert {reason: found["count"] for reason, found in splits.facts["read"]["media"]["left_out"].items()} == {
        "foreign": 1,
        "missing": 2,
        "outside": 1,
    }


def test_a_picture_that_vanishes_or_changes_after_reading_is_named(tmp_path: Path) -> None:
    folder = good_files(tmp_path / "set", "image")
    rows = load_splits(DataSettings(data=str(folder)))["unlabelled"]
    (folder / "good0.png").unlink()
    with pytest.raises(DataError, match=r"good0\.png"):
        decode_image(rows[0]["image"])
    with contextlib.suppress(FileNotFoundError):
        (folder / "good0.png").write_bytes(b"other")
    with pytest.raises(DataError, match=r"good0\.png"):
        decode_image(rows[0]["image"])
    with pytest.raises(DataError, match=r"gone\.wav"):
        decode_audio({"bytes": None, "path": str(folder / "gone.wav")}, 16_000)
