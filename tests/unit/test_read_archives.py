"""Archives as other programs write them: names in any encoding, tar packed or not; and what is refused in them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from media_files import numbered, picture, put
from pretune.config import DataSettings
from pretune.data.archives import tar as archive_tar
from pretune.data.archives.names import decode_names, name_parts
from pretune.data.read import read
from pretune.data.split import content_keys
from pretune.data.splits import Splits
from pretune.errors import DataError

NAMES = numbered("动物/猫", "动物/狗")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


class OldInfo(zipfile.ZipInfo):
    """A member whose name is written in the bytes of some system, without the mark of UTF-8."""

    encoding = "utf-8"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # the one place where zipfile writes names
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def old_zip(path: Path, names: Iterable[str], encoding: str, slash: str = "/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for seed, name in enumerate(names):
            info = OldInfo("x")
            info.filename, info.encoding = name.replace("/", slash), encoding
            archive.writestr(info, picture(seed))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "gbk"])
def test_zips_of_other_systems_give_the_classes_their_names(encoding: str, tmp_path: Path) -> None:
    splits = get(old_zip(tmp_path / "set.zip", NAMES, encoding))
    assert splits.facts["read"]["labels"] == {"猫": 4, "狗": 4}
    assert splits["train"][0]["id"].startswith("动物/")
    read_as = "utf-8" if encoding == "utf-8" else "gb18030"
    assert any("carry no mark" in note and read_as in note for note in splits.facts["read"]["notes"])


def test_names_that_are_marked_or_plain_are_not_spoken_of(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for seed, name in enumerate(NAMES):
            archive.writestr(name, picture(seed))
    splits = get(tmp_path / "set.zip")
    assert splits.facts["read"]["labels"] == {"猫": 4, "狗": 4}
    assert not any("mark" in note for note in splits.facts["read"]["notes"])


def test_names_of_an_old_western_system_stay_what_they_are(tmp_path: Path) -> None:
    splits = get(old_zip(tmp_path / "set.zip", numbered("Übung", "Äpfel"), "cp437"))
    assert set(splits.facts["read"]["labels"]) == {"Übung", "Äpfel"}


def test_an_encoding_that_is_told_holds_for_names(tmp_path: Path) -> None:
    packed = old_zip(tmp_path / "set.zip", numbered("ねこ", "いぬ"), "shift_jis")
    assert set(get(packed, encoding="shift_jis").facts["read"]["labels"]) == {"ねこ", "いぬ"}


def test_a_zip_of_the_mac_and_one_with_backslashes(tmp_path: Path) -> None:
    mac = [*NAMES, "__MACOSX/动物/猫/._0.png", "动物/.DS_Store"]
    assert get(old_zip(tmp_path / "mac.zip", mac, "utf-8")).facts["read"]["labels"] == {"猫": 4, "狗": 4}
    windows = old_zip(tmp_path / "windows.zip", numbered("set/train/a", "set/train/b"), "utf-8", slash="\\")
    assert get(windows).facts["read"]["labels"] == {"a": 4, "b": 4}


def test_one_decision_for_all_names() -> None:
    assert decode_names([b"a", b"b"], None, "cp437") == (["a", "b"], None)
    assert decode_names(["猫".encode(), b"b"], None, "cp437") == (["猫", "b"], "utf-8")
    assert decode_names(["猫".encode(), "狗".encode("gbk")], None, "latin-1")[1] in ("gb18030", "latin-1")
    assert decode_names(["né".encode("latin-1")], "latin-1", "cp437") == (["né"], "latin-1")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:/x", "\\\\host\\x", "a\0b"])
def test_names_that_lead_out_are_no_names(name: str) -> None:
    assert name_parts(name) is None


def tar_bytes(names: Iterable[str], form: int = tarfile.PAX_FORMAT, encoding: str = "utf-8") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding=encoding) as archive:
        for seed, name in enumerate(names):
            data = picture(seed)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "set.tar": bytes,
    "set.tar.gz": gzip.compress,
    "set.tgz": gzip.compress,
    "set.tar.bz2": bz2.compress,
    "set.tar.xz": lzma.compress,
    "pictures": bytes,
    "pictures.gz": gzip.compress,
}


@pytest.mark.parametrize("name", PACKERS)
def test_a_tar_gives_the_same_pictures_as_its_folder(name: str, tmp_path: Path) -> None:
    names = numbered("./set/train/ant", "./set/train/bee", "./set/test/ant", "./set/test/bee")
    (tmp_path / name).write_bytes(PACKERS[name](tar_bytes(names)))
    put(tmp_path / "folder", [one.removeprefix("./") for one in names])
    ours, theirs = get(tmp_path / name), get(tmp_path / "folder")
    assert set(ours) == {"train", "test"}
    for split in theirs:
        assert ours[split]["label"] == theirs[split]["label"]
        assert sorted(content_keys(ours[split])) == sorted(content_keys(theirs[split]))
    assert ours["train"][0]["image"]["bytes"] == (tmp_path / "folder" / ours["train"][0]["id"]).read_bytes()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_in_tars(form: int, tmp_path: Path) -> None:
    deep = "a very long name of a folder " * 5
    (tmp_path / "long.tar").write_bytes(tar_bytes(numbered(f"{deep}/猫", f"{deep}/狗"), form))
    splits = get(tmp_path / "long.tar")
    assert splits.facts["read"]["labels"] == {"猫": 4, "狗": 4}
    assert splits["train"][0]["id"].startswith(deep)
    (tmp_path / "gbk.tar").write_bytes(tar_bytes(NAMES, tarfile.GNU_FORMAT, "gbk"))
    splits = get(tmp_path / "gbk.tar")
    assert splits.facts["read"]["labels"] == {"猫": 4, "狗": 4}
    assert any("gb18030" in note for note in splits.facts["read"]["notes"])


def test_tables_in_a_tar_and_tars_in_a_folder(tmp_path: Path) -> None:
    table = b"text,label\n" + b"".join(f"text of number {n},{'ab'[n % 2]}\n".encode() for n in range(6))
    with tarfile.open(tmp_path / "table.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("data/train.csv")
        info.size = len(table)
        archive.addfile(info, io.BytesIO(table))
    assert len(get(tmp_path / "table.tar.gz")["train"]) == 6
    (tmp_path / "parts").mkdir()
    for split in ("train", "test"):
        (tmp_path / "parts" / f"{split}.tar.gz").write_bytes(gzip.compress(tar_bytes(numbered("a", "b"))))
    assert {name: len(rows) for name, rows in get(tmp_path / "parts").items()} == {"train": 8, "test": 8}


def member(name: str, **facts: Any) -> bytes:
    """A tar with one member of an unusual kind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        for key, value in facts.items():
            setattr(info, key, value)
        archive.addfile(info, io.BytesIO(b"x" * info.size))
    return buffer.getvalue()


HOSTILE = {
    "absolute": (member("/etc/evil.png", size=1), "leads out of the archive"),
    "parent": (member("a/../../evil.png", size=1), "leads out of the archive"),
    "drive": (member("C:/evil.png", size=1), "leads out of the archive"),
    "link": (member("a/x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link"),
    "hard link": (member("a/x.png", type=tarfile.LNKTYPE, linkname="b/y.png"), "a link"),
    "device": (member("a/x.png", type=tarfile.CHRTYPE), "no plain file"),
    "pipe": (member("a/x.png", type=tarfile.FIFOTYPE), "no plain file"),
    "sparse": (member("a/x.png", pax_headers={"GNU.sparse.major": "1"}, size=1), "no plain file"),
    "header": (member("a/x.png", pax_headers={"comment": "x" * (2 << 20)}, size=1), "a header of"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tars_are_refused_before_anything_is_read(kind: str, tmp_path: Path) -> None:
    data, problem = HOSTILE[kind]
    (tmp_path / "evil.tar").write_bytes(data)
    with pytest.raises(DataError, match=problem) as caught:
        get(tmp_path / "evil.tar")
    assert "unpack it yourself" in caught.value.fix
    assert not list(tmp_path.rglob("evil.png"))


def test_tars_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(30 << 20))
    (tmp_path / "bomb.tar.gz").write_bytes(bomb)
    with pytest.raises(DataError, match="decompression bomb"):
        get(tmp_path / "bomb.tar.gz")
    monkeypatch.setattr(archive_tar, "MAX_ENTRIES", 5)
    (tmp_path / "many.tar").write_bytes(tar_bytes(numbered("a", "b")))
    with pytest.raises(DataError, match="more than 5 files"):
        get(tmp_path / "many.tar")


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.tar.bz2", "set.tar.xz"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_off_tars_are_refused(name: str, share: float, tmp_path: Path) -> None:
    whole = PACKERS[name](tar_bytes(numbered("a", "b")).rstrip(b"\0") + bytes(2_000))
    (tmp_path / name).write_bytes(whole[: int(share * len(whole)) - 7])
    with pytest.raises(DataError, match=r"truncated|not a whole tar|cannot be decompressed|ends in the middle"):
        get(tmp_path / name)


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.tar.bz2", "set.tar.xz"])
def test_what_is_no_tar_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"this is no archive at all" * 100)
    with pytest.raises(DataError, match=r"not a whole tar archive|cannot be decompressed"):
        get(tmp_path / name)


def test_a_flipped_byte_in_any_header_is_no_traceback(tmp_path: Path) -> None:
    whole = bytearray(tar_bytes(numbered("a", "b", count=2), tarfile.GNU_FORMAT))
    for place in range(0, 512, 7):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        (tmp_path / "set.tar").write_bytes(broken)
        with pytest.raises(DataError):
            get(tmp_path / "set.tar")


def test_a_tar_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_bytes(tar_bytes(numbered("a", "b")))
    assert len(get(tmp_path / "set.tar")["train"]) == 8
    (tmp_path / "set.tar").write_bytes(tar_bytes(numbered("a", "b", count=5)))
    assert len(get(tmp_path / "set.tar")["train"]) == 10
