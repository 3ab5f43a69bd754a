"""Groups from the names of files: asked for with an expression, and warned of where a split tears them apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from media_files import numbered, put
from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.checks.siblings import _found_cut
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def settings(place: Path, **flags: Any) -> DataSettings:
    return DataSettings(data=str(place), **flags)


def named(place: Path, **flags: Any) -> list[dict[str, Any]]:
    return [one for one in passport(load_splits(settings(place, **flags)))["findings"] if one["code"] == "siblings"]


def recordings() -> list[str]:
    """fold-recording-take-class, as a known set of environmental sounds names them; 60 recordings of one to three takes."""
    return [
        f"{('dog', 'rain')[rec % 2]}/{1 + rec % 5}-{100_000 + 37 * rec}-{take}-{rec % 2}.wav"
        for rec in range(60)
        for take in "ABC"[: 1 + rec % 3]
    ]


FORMS = {
    "fold-recording-take": recordings(),
    "animal and picture": [f"{'ab'[a % 2]}/animal_{a:02d}_img{k}.png" for a in range(16) for k in range(4)],
    "number of a burst": [f"{'ab'[a % 2]}/IMG_{a:04d}_{k}.png" for a in range(24) for k in range(3)],
    "copies of a window": [f"{'ab'[a % 2]}/scan{a:03d}{k}.png" for a in range(24) for k in ("", " (2)", " (3)")],
    "code of a speaker": [f"{'ab'[a % 2]}/{a * 7919 + 2**28:08x}_nohash_{k}.png" for a in range(24) for k in range(3)],
    "frames of a film": [f"{'ab'[a % 2]}/v_{'ab'[a % 2]}_g{a:02d}_c{k:02d}.png" for a in range(24) for k in range(3)],
}


@pytest.mark.parametrize("form", FORMS)
def test_siblings_on_both_sides_are_warned_of_and_the_advice_mends_it(form: str, tmp_path: Path) -> None:
    put(tmp_path / "set", FORMS[form])
    found = named(tmp_path / "set")
    assert found, "the split by content tears recordings apart"
    assert all(one["severity"] == "warning" for one in found)
    expression = re.search(r"--group-from ('(.*)'|\S+)", found[0]["fix"])
    assert expression is not None
    given = expression[2] or expression[1]
    splits = load_splits(settings(tmp_path / "set", group_from=given))
    groups = {name: set(rows["group"]) for name, rows in splits.items()}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not named(tmp_path / "set", group_from=given)


UNRELATED = {
    "numbers": [f"{n:04d}" for n in range(200)],
    "words and numbers": [f"cat.{n}" for n in range(200)],
    "a camera's": [f"IMG_{n:04d}" for n in range(200)],
    "codes": [f"{n * 104729 + 2**30}_{n * 7919 + 2**38:x}" for n in range(200)],
    "a year": [f"2008_{n:06d}" for n in range(200)],
    "the class": [f"n0144{n % 4:04d}_{n}" for n in range(200)],
    "digits, speaker, take": [f"{n % 10}_{'abc'[n % 3]}_{n // 30}" for n in range(200)],
    "counted anew in each folder": [f"{n % 50:04d}_a" for n in range(200)],
    "answers": ["_".join(f"{n:08b}") for n in range(60)],
}


@pytest.mark.parametrize("form", UNRELATED)
def test_names_that_say_nothing_of_the_kind(form: str) -> None:
    stems = UNRELATED[form]
    labels = [stem.split("_")[0] if form == "the class" else "xy"[n % 2] for n, stem in enumerate(stems)]
    assert _found_cut(stems, labels) is None


@pytest.mark.parametrize("place", ["vision/hymenoptera", "speech/fsdd", "speech/yesno"])
def test_real_sets_without_siblings_raise_no_alarm(place: str, shared_data: Path) -> None:
    assert not named(shared_data / place, validation_fraction=0.1)


def test_a_given_split_is_looked_at_too(tmp_path: Path) -> None:
    names = recordings()
    put(tmp_path / "set", [f"{'test' if n % 4 == 0 else 'train'}/{name}" for n, name in enumerate(names)])
    (found,) = named(tmp_path / "set", validation_fraction=0.0)
    assert "rows of test have names that begin as names in train do" in found["message"]
    test = {n for n in range(len(names)) if n % 4 == 0}
    of = [re.match(r"[a-z]+/\d-\d+", name)[0] for name in names]  # type: ignore[index]
    learned = {of[n] for n in range(len(names)) if n not in test}
    assert found["count"] == sum(of[n] in learned for n in test)


def test_what_an_expression_takes(tmp_path: Path) -> None:
    put(tmp_path / "set", [*numbered("cat/home", "dog/park", name="rec{}_left.png"), "cat/home/other.png"])

    def groups(given: str) -> set[str | None]:
        return set(read(settings(tmp_path / "set", group_from=given))["train"]["group"])

    assert groups(r"rec\d") == {"rec0", "rec1", "rec2", "rec3", None}
    assert groups(r"(\d)_left") == {"0", "1", "2", "3", None}
    assert groups(r"^[^/]+/([^/]+)") == {"home", "park"}, "with a slash in it, the path is searched"
    assert groups(r"^rec") == {"rec", None}, "without one, the name alone"
    notes = read(settings(tmp_path / "set", group_from=r"rec\d")).facts["read"]["notes"]
    assert "--group-from finds 4 groups in the names; the largest is 'rec0' (2 rows)." in notes
    assert "1 rows have a name in which --group-from finds nothing: each is a group of its own." in notes


def test_expressions_that_cannot_be_used(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b"))
    with pytest.raises(UsageError, match="no regular expression"):
        read(settings(tmp_path / "set", group_from="rec("))
    with pytest.raises(UsageError, match=r"--group is 'folder:1' and --group-from"):
        read(settings(tmp_path / "set", group_from="rec", group="folder:1"))
    with pytest.raises(DataError, match="finds nothing in the names of the files, such as") as caught:
        read(settings(tmp_path / "set", group_from="rec"))
    assert "without its folders" in caught.value.fix
    (tmp_path / "list.csv").write_text("text,label\none text here,a\nother text here,b\n")
    with pytest.raises(DataError, match="not files and have no ids"):
        read(settings(tmp_path / "list.csv", group_from="rec"))
    (tmp_path / "ids.csv").write_text("id,text,label\ndoc1-a,one text here,a\ndoc1-b,other text here,b\n")
    assert list(read(settings(tmp_path / "ids.csv", group_from=r"doc\d+"))["train"]["group"]) == ["doc1", "doc1"]


def test_groups_from_names_reach_the_split_in_proportion(tmp_path: Path) -> None:
    put(tmp_path / "set", recordings())
    splits = load_splits(settings(tmp_path / "set", group_from=r"\d-\d+", test_fraction=0.2))
    rows = {name: len(part) for name, part in splits.items()}
    assert 0.1 < rows["test"] / sum(rows.values()) < 0.3
    assert all(set(np.unique(part["label"])) == {"dog", "rain"} for part in splits.values())
