"""Files of one text in several languages, and tables of texts and what is to be written from them."""

from __future__ import annotations

import gzip
import json

import pytest

from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.split import row_units
from pretune.errors import DataError

EN = [f"A dog number {n} runs." for n in range(40)]
DE = [f"Ein Hund Nummer {n} läuft." for n in range(40)]


def _write(folder, name, en=EN, de=DE, packed=False):
    for code, lines in (("en", en), ("de", de)):
        text = "\n".join(lines) + "\n"
        if packed:
            (folder / f"{name}.{code}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / f"{name}.{code}").write_text(text, encoding="utf-8")


def _read(place, **options):
    return load_splits(DataSettings(data=str(place), column=("text=en", "target=de"), **options))


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_parallel_files_has_their_splits(tmp_path, packed):
    _write(tmp_path, "train", packed=packed)
    _write(tmp_path, "val", EN[:5], DE[:5], packed=packed)
    _write(tmp_path, "test_2016_flickr", EN[5:9], DE[5:9], packed=packed)
    (tmp_path / "README.txt").write_text("about")
    found = _read(tmp_path)
    assert {name: len(rows) for name, rows in found.items()} == {"train": 40, "validation": 5, "test": 4}
    assert found["test"][0] == {"id": "test_2016_flickr:1", "text": EN[5], "target": [DE[5]]}
    assert any("README.txt" in note for note in found.facts["read"]["notes"])


def test_files_of_a_pattern_are_read_together(tmp_path):
    _write(tmp_path, "train")
    _write(tmp_path, "newstest", EN[:6], DE[:6])
    found = load_splits(
        DataSettings(train=(f"{tmp_path}/train.*",), test=(f"{tmp_path}/newstest.*",), column=("text=de", "target=en"))
    )
    assert len(found["test"]) == 6
    assert found["test"][2]["target"] == [EN[2]]


def test_which_side_is_written_is_asked(tmp_path):
    _write(tmp_path, "train")
    with pytest.raises(DataError) as error:
        load_splits(DataSettings(data=str(tmp_path)))
    assert "--column text=en --column target=de" in error.value.fix


def test_source_and_target_say_it_themselves(tmp_path):
    (tmp_path / "train.source").write_text("\n".join(EN))
    (tmp_path / "train.target").write_text("\n".join(DE))
    assert load_splits(DataSettings(data=str(tmp_path)))["train"][0]["text"] in EN


def test_files_of_other_lengths_are_refused(tmp_path):
    _write(tmp_path, "train", de=DE[:-1])
    with pytest.raises(DataError, match=r"train\.en has more lines than train\.de, which ends at line 39"):
        _read(tmp_path)


def test_blank_lines_are_left_out_and_empty_targets_are_unlabelled(tmp_path):
    _write(tmp_path, "train", [*EN[:3], "", *EN[3:]], [DE[0], " ", DE[2], "", *DE[3:]])
    found = _read(tmp_path)
    assert sum(len(rows) for rows in found.values()) == 40
    assert found["unlabelled"]["text"] == [EN[1]]
    assert found.facts["read"]["files"][0]["blank_lines"] == 1
    assert found.facts["read"]["moved_to_unlabelled"] == {"train": 1}


def test_usual_names_of_columns_are_found(tmp_path):
    rows = [{"source": en, "target": [de, f"{de} "]} for en, de in zip(EN, DE, strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = load_splits(DataSettings(data=str(tmp_path / "a.jsonl")))["train"]
    assert set(train.column_names) == {"id", "text", "target"}
    assert len(train[0]["target"]) == 2
    table = tmp_path / "b.csv"
    table.write_text(
        "article,summary\n" + "\n".join(f"{en} It is far away.,{de}" for en, de in zip(EN, DE, strict=True))
    )
    assert "target" in load_splits(DataSettings(data=str(table)))["train"].column_names


def test_a_target_of_classes_is_a_label(tmp_path):
    table = tmp_path / "c.csv"
    table.write_text("text,target\n" + "\n".join(f"{en},{'good' if n % 2 else 'bad'}" for n, en in enumerate(EN)))
    assert "label" in load_splits(DataSettings(data=str(table)))["train"].column_names


def test_rows_that_share_a_text_on_either_side_stay_together(tmp_path):
    rows = [{"source": f"s{n // 2}", "target": f"t{(n + 1) // 2}"} for n in range(20)]
    rows += [{"source": f"other {n}", "target": f"another text {n}"} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load_splits(DataSettings(data=str(tmp_path / "a.jsonl"), column=("text=source", "target=target")))
    assert {"train", "validation", "test"} <= set(found)
    sides = {name for name, part in found.items() for text in part["text"] if text.startswith("s")}
    assert len(sides) == 1
    units = row_units(found[sides.pop()])
    assert len(set(units)) < len(units)
