"""Pictures and sound of every kind that people have: read, read where a package is there, or told what they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media_files import RATE, clip, numbered, picture, put, tone
from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits, modality_of
from pretune.data.media import kinds as media_kinds
from pretune.data.media.audio import clip_seconds, decode_audio
from pretune.data.media.image import decode_image
from pretune.data.media.kinds import HEAD_BYTES, kind_of_bytes, kind_of_name, need_of, sound_format
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.data.stream import stream_rows
from pretune.errors import DataError
from pretune.modalities import Modality
from pretune.verbs.inspect.story import inspect


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the optional packages."""
    monkeypatch.setattr(media_kinds, "EXTRAS", {"heif": "no_such_package_a", "coded": "no_such_package_b"})


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def findings_of(place: Path, **flags: Any) -> dict[str, dict[str, Any]]:
    return {one["code"]: one for one in passport(load_splits(DataSettings(data=str(place), **flags)))["findings"]}


def heic(seed: int) -> bytes:
    """A HEIC picture; the test is skipped where it cannot be made."""
    pillow_heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(seed, size=(64, 48)))).save(buffer, "HEIF", quality=90)
    return buffer.getvalue()


def coded(seed: int, form: str = "ipod", codec: str = "aac", rate: int = 16_000, seconds: float = 0.5) -> bytes:
    """Sound as a telephone writes it; the test is skipped where it cannot be made."""
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    samples = tone(seed, seconds, rate)
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        for start in range(0, len(samples), 1024):
            block = np.ascontiguousarray(samples[None, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


FAKES = {
    "IMG_1.HEIC": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(200),
    "DSC_1.NEF": b"MM\0*\0\0\0\x08" + bytes(200),
    "IMG_2.CR3": b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(200),
    "memo.m4a": b"\0\0\0\x18ftypM4A \0\0\0\0" + bytes(200),
    "clip.mp4": b"\0\0\0\x18ftypisom\0\0\0\0" + bytes(200),
    "old.wma": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(200),
    "call.amr": b"#!AMR\n" + bytes(200),
    "tab.webm": b"\x1aE\xdf\xa3\x9fB\x86\x81" + bytes(200),
    "plan.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}
NEEDS = dict(zip(FAKES, ("heif", "raw", "raw", "coded", "coded", "coded", "coded", "coded", "drawn"), strict=True))


@pytest.mark.parametrize("name", FAKES)
def test_kinds_by_name_and_by_bytes(name: str) -> None:
    kind = "audio" if NEEDS[name] == "coded" else "image"
    assert kind_of_name(name) == kind
    assert need_of(name, FAKES[name][:HEAD_BYTES]) == NEEDS[name]
    if not name.endswith((".svg", ".NEF")):
        assert kind_of_bytes(FAKES[name][:HEAD_BYTES]) == kind


@pytest.mark.parametrize(
    "text", [b"BMW is a car", b"FORM 10-K", b"MAC address", b"RIFF raff", b"ID card", b"II. Part two"]
)
def test_texts_are_no_pictures_and_no_sound(text: bytes) -> None:
    assert kind_of_bytes((text * 20)[:HEAD_BYTES]) is None
    assert sound_format((text * 20)[:HEAD_BYTES]) is None


def test_jfif_is_jpeg(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("a", "b", name="{}.jfif"), *numbered("a", "b", name="{}.jpg")])
    splits = get(tmp_path / "set")
    assert len(splits["train"]) == 16
    assert splits.facts["read"]["media"]["formats"] == {"JPEG": 16}
    assert splits.facts["read"]["media"]["changes"] == {}, "the name says the right format"
    (tmp_path / "set" / "list.csv").write_text(
        "image,label\n" + "".join(f"a/{n}.jfif,x\nb/{n}.jfif,y\n" for n in range(4))
    )
    listed = get(tmp_path / "set" / "list.csv")
    assert modality_of(listed) == "image"
    assert len(listed["train"]) == 8


@pytest.mark.parametrize("name", [name for name in FAKES if NEEDS[name] in ("heif", "raw", "drawn")])
def test_pictures_that_cannot_be_read_are_told_as_such(name: str, tmp_path: Path, without_extras: None) -> None:
    put(tmp_path / "set", numbered("a", "b", count=6))
    (tmp_path / "set" / "a" / name).write_bytes(FAKES[name])
    told = findings_of(tmp_path / "set")[f"left-out-{NEEDS[name]}"]
    assert (told["severity"], told["count"], told["rows"]) == ("warning", 1, [f"a/{name}"])
    assert "save the file as" in told["fix"]
    assert ("pillow-heif" in told["message"]) == (NEEDS[name] == "heif")
    outcome = inspect(str(tmp_path / "set"), strict=True)
    assert outcome.exit_code == 1


@pytest.mark.parametrize("name", [name for name in FAKES if NEEDS[name] == "coded"])
def test_sound_that_cannot_be_read_is_told_as_such(name: str, tmp_path: Path, without_extras: None) -> None:
    put(tmp_path / "set", numbered("a", "b", count=6, name="{}.wav"))
    (tmp_path / "set" / "a" / name).write_bytes(FAKES[name])
    told = findings_of(tmp_path / "set")["left-out-coded"]
    assert (told["count"], told["rows"]) == (1, [f"a/{name}"])
    assert told["fix"] == "pip install av, or save the file as WAV or FLAC"


def test_more_than_half_of_an_unread_kind_is_refused(tmp_path: Path, without_extras: None) -> None:
    put(tmp_path / "set", numbered("a", "b"))
    for number in range(9):
        (tmp_path / "set" / "a" / f"IMG_{number}.HEIC").write_bytes(FAKES["IMG_1.HEIC"])
    with pytest.raises(DataError, match="9 of 17 pictures cannot be used: 9 are HEIC pictures") as caught:
        get(tmp_path / "set")
    assert "pip install pillow-heif" in caught.value.fix


def test_a_list_of_unread_clips_is_no_list_of_texts(tmp_path: Path, without_extras: None) -> None:
    rows = []
    for number in range(8):
        (tmp_path / f"{number}.m4a").write_bytes(FAKES["memo.m4a"])
        rows.append(f"{number}.m4a,{'ab'[number % 2]}")
    (tmp_path / "list.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"8 of 8 clips cannot be used: 8 are of kinds of sound"):
        get(tmp_path / "list.csv")


def test_one_file_by_name_says_what_it_needs(tmp_path: Path, without_extras: None) -> None:
    for name, mend in (("IMG_1.HEIC", "pip install pillow-heif"), ("memo.m4a", "pip install av")):
        (tmp_path / name).write_bytes(FAKES[name])
        with pytest.raises(DataError) as caught:
            list(stream_rows(str(tmp_path / name), modality=Modality(kind_of_name(name))))
        assert mend in caught.value.fix


def test_heic_is_read_where_its_package_is_there(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b"))
    for number in range(3):
        (tmp_path / "set" / "a" / f"IMG_{number}.HEIC").write_bytes(heic(number))
    (tmp_path / "set" / "a" / "bad.heic").write_bytes(heic(9)[:700])
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["media"]["formats"] == {"PNG": 8, "HEIF": 3}
    assert splits.facts["read"]["media"]["left_out"]["broken"]["files"] == ["a/bad.heic"]
    row = next(row for row in splits["train"] if row["id"] == "a/IMG_1.HEIC")
    assert (row["width"], row["height"]) == (64, 48)
    ours = np.asarray(decode_image(row["image"]), dtype=float)
    true = np.asarray(decode_image({"bytes": picture(1, size=(64, 48)), "path": "x.png"}), dtype=float)
    assert np.abs(ours - true).mean() < 12


@pytest.mark.parametrize(
    ("form", "codec", "rate"),
    [
        ("ipod", "aac", 16_000),
        ("mp4", "aac", 16_000),
        ("adts", "aac", 16_000),
        ("webm", "libopus", 48_000),
        ("wv", "wavpack", 16_000),
        ("avi", "mp2", 16_000),
        ("flv", "aac", 44_100),
    ],
)
def test_coded_sound_is_read_where_its_package_is_there(form: str, codec: str, rate: int, tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b", name="{}.wav"))
    data = coded(7, form, codec, rate, seconds=1.0)
    (tmp_path / "set" / "a" / "memo.m4a").write_bytes(data)
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["media"]["left_out"] == {}
    row = next(row for row in splits["train"] if row["id"] == "a/memo.m4a")
    assert row["rate"] == rate
    assert row["seconds"] == pytest.approx(1.0, abs=0.15)
    assert clip_seconds({"bytes": data, "path": "memo.m4a"}) == pytest.approx(1.0, abs=0.15)
    ours, true = decode_audio(row["audio"], RATE), tone(7, 1.0, RATE)
    spectrum = [np.abs(np.fft.rfft(one[1000:5000])) for one in (ours, true)]
    assert abs(int(spectrum[0].argmax()) - int(spectrum[1].argmax())) <= 1, "the same tone is heard"


def test_coded_sound_that_is_damaged(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b", name="{}.wav"))
    (tmp_path / "set" / "a" / "cut.m4a").write_bytes(coded(1)[:400])
    (tmp_path / "set" / "a" / "junk.m4a").write_bytes(b"junk" * 100)
    (tmp_path / "set" / "b" / "fake.mp4").write_bytes(FAKES["clip.mp4"])
    media = get(tmp_path / "set").facts["read"]["media"]
    assert media["read"] == 8
    assert media["left_out"]["foreign"]["files"] == ["a/junk.m4a"]
    assert sorted(media["left_out"]["broken"]["files"]) == ["a/cut.m4a", "b/fake.mp4"]


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    put(tmp_path / "set", numbered("a", "b", name="{}.wav"))
    (tmp_path / "set" / "a" / "film.mp4").write_bytes(buffer.getvalue())
    assert get(tmp_path / "set").facts["read"]["media"]["left_out"]["no_sound"]["count"] == 1


def test_a_playlist_names_no_other_file(tmp_path: Path) -> None:
    """A container that asks FFmpeg to open another file is none of the kinds that are passed on to it."""
    put(tmp_path / "set", numbered("a", "b", name="{}.wav"))
    (tmp_path / "secret.wav").write_bytes(clip(3))
    playlist = f"#EXTM3U\n#EXTINF:1,\n{tmp_path / 'secret.wav'}\n"
    (tmp_path / "set" / "a" / "list.m4a").write_text(playlist)
    assert get(tmp_path / "set").facts["read"]["media"]["left_out"]["foreign"]["count"] == 1


def test_films_beside_photos_are_told_however_many(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b"))
    for number in range(10):
        (tmp_path / "set" / "a" / f"IMG_{number}.MOV").write_bytes(FAKES["clip.mp4"])
    splits = get(tmp_path / "set")
    assert (modality_of(splits), len(splits["train"])) == ("image", 8)
    told = findings_of(tmp_path / "set")["left-out-files"]
    assert told["count"] == 10
    assert "clips, where rows are made of pictures" in told["message"]


def test_files_without_a_suffix_are_looked_into(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b", name="{}.png"))
    for seed, name in enumerate(numbered("a", "b", name="img{}"), 50):
        (tmp_path / "set" / name).write_bytes(picture(seed, "JPEG"))
    (tmp_path / "set" / "a" / "photo.dat").write_bytes(picture(99))
    (tmp_path / "set" / "a" / "notes").write_text("BMW and other words")
    splits = get(tmp_path / "set")
    assert len(splits["train"]) == 17
    assert [one["files"] for one in splits.facts["read"]["left_out"]] == [["a/notes"]]


def test_what_is_installed_later_is_read_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept table of an earlier reading does not hide what can be read now."""
    put(tmp_path / "set", numbered("a", "b"))
    (tmp_path / "set" / "a" / "IMG_1.HEIC").write_bytes(heic(1))
    with monkeypatch.context() as before:
        before.setattr(media_kinds, "EXTRAS", {"heif": "no_such_package_a"})
        assert len(get(tmp_path / "set")["train"]) == 8
    assert len(get(tmp_path / "set")["train"]) == 9


def test_silent_and_clipped_clips_are_found(tmp_path: Path) -> None:
    import soundfile

    put(tmp_path / "set", numbered("a", "b", count=6, name="{}.wav"))
    at = np.arange(4_000) / RATE
    loud = 3 * np.sin(2 * np.pi * 440 * at)
    soundfile.write(tmp_path / "set" / "a" / "silent.wav", np.zeros(4_000), RATE)
    soundfile.write(tmp_path / "set" / "a" / "constant.wav", np.full(4_000, 0.4), RATE)
    soundfile.write(tmp_path / "set" / "b" / "clipped.wav", loud.clip(-1, 1), RATE)
    soundfile.write(tmp_path / "set" / "b" / "full.wav", loud / 3.0 * 0.9999, RATE)
    soundfile.write(tmp_path / "set" / "b" / "quiet.wav", loud / 300, RATE)
    found = findings_of(tmp_path / "set")
    assert sorted(found["silent-clips"]["rows"]) == ["a/constant.wav", "a/silent.wav"]
    assert found["clipped-clips"]["rows"] == ["b/clipped.wav"]
    notes = get(tmp_path / "set").facts["read"]["notes"]
    assert "2 clips are silent (never over -60 dB of full scale)." in notes
    assert "1 clip is clipped (peaks cut off at full scale)." in notes


def test_real_speech_is_neither_silent_nor_clipped(shared_data: Path) -> None:
    media = get(shared_data / "speech" / "fsdd" / "test.jsonl").facts["read"]["media"]
    assert media["read"] == 300
    assert media["signs"].get("silent", {"count": 0})["count"] == 0
