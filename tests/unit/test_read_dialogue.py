"""Conversations as people bring them: messages, sharegpt, alpaca, questions, chatterbot; and such as are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.stream import stream_rows
from pretune.errors import DataError

ASKED, SAID = "How are you?", "Well."
GOOD = [
    {"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}, {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": " As ever."},
]  # fmt: skip


def rows_of(place: Path, split: str = "train", **settings: Any) -> list[dict[str, Any]]:
    return list(read(DataSettings(data=str(place), **settings))[split])


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return folder / name


def sharegpt(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": GOOD},
        {"conversations": sharegpt(GOOD)},
        {"dialog": [turn["content"] for turn in GOOD]},
        {"messages": json.dumps(GOOD)},
        {"messages": {"role": [turn["role"] for turn in GOOD], "content": [turn["content"] for turn in GOOD]}},
        {"instruction": "Why?", "input": "", "output": " As ever.", "history": [[ASKED, SAID]]},
    ],
    ids=["messages", "sharegpt", "texts by turns", "written as JSON", "lists side by side", "alpaca with history"],
)
def test_every_form_gives_the_same_row(row: dict[str, Any], tmp_path: Path) -> None:
    (found,) = rows_of(written(tmp_path, [row]))
    assert found["turns"] == GOOD[:3]
    assert found["target"] == [" As ever."], "a space is part of what was said"
    assert found["text"] == f"{ASKED}\n{SAID}\nWhy?"


def test_alpaca_puts_instruction_and_input_together_and_keeps_the_system(tmp_path: Path) -> None:
    rows = [{"instruction": f"Add {n}.", "input": f"1 + {n}", "output": f"It is {n + 1}.", "system": "Be brief."} for n in range(8)]  # fmt: skip
    found = rows_of(written(tmp_path, rows))
    assert found[0]["turns"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add 0.\n\n1 + 0"}]  # fmt: skip


def test_questions_and_answers_are_conversations_where_no_label_stands_beside(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} and {n}?", "answer": f"That would be {2 * n}."} for n in range(8)]
    assert "turns" in rows_of(written(tmp_path, rows))[0]
    labelled = [{**row, "label": str(n % 2)} for n, row in enumerate(rows)]
    assert "turns" not in rows_of(written(tmp_path, labelled, "pairs.jsonl"))[0]
    told = rows_of(tmp_path / "rows.jsonl", column=("text=question", "target=answer"))
    assert "turns" not in told[0], "a person's word goes first"


def test_chatterbot_reads_texts_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "ai.yml").write_text(
        "categories:\n- AI\nconversations:\n- - Are you sure?\n  - Yes\n- - Say a number\n  - 42\n  - why: so\n"
        "- alone\n- - What is it?\n  - 'a: b'\n- - Who\n  - says: this\n",
        encoding="utf-8",
    )
    splits = read(DataSettings(data=str(tmp_path)))
    assert [row["target"] for row in splits["train"]] == [["Yes"], ["42"], ["a: b"], ["says: this"]]
    notes = " ".join(splits.facts["read"]["notes"])
    assert "1 of 5 conversations end in a turn that nobody answers" in notes
    assert "1 row that is no conversation" in notes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("conversations:\n- &a [x, y]\n- *a\n", "alias"),
        ("conversations:\n- - x\n  - !!python/object/apply:os.system [ls]\n", "holds no conversations"),
        ("conversations:\n- [x, y\n", "no YAML"),
        ("conversations:\n", "no list of conversations"),
        ("conversations:\n- " + "[" * 5000 + "\n", "nested|no YAML"),
    ],
)
def test_a_file_of_chatterbot_that_is_none(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read(DataSettings(data=str(tmp_path / "a.yml")))
    assert any(word in error.value.problem for word in says.split("|"))


BAD = {
    "two turns of one role": [GOOD[0], GOOD[0], GOOD[1]],
    "unknown role 'tool'": [GOOD[0], {"role": "tool", "content": "x"}, GOOD[1]],
    "empty turn": [{"role": "user", "content": "  "}, GOOD[1]],
    "begins with an answer": GOOD[1:],
    "system turn inside": [*GOOD[:2], {"role": "system", "content": "x"}],
    "nobody asks": [{"role": "system", "content": "x"}],
    "no text": [{"role": "user", "content": {"a": 1}}, GOOD[1]],
}


def test_what_is_no_conversation_is_counted_by_its_reason(tmp_path: Path) -> None:
    rows = [{"messages": turns} for turns in (*[GOOD] * 8, *BAD.values())]
    splits = read(DataSettings(data=str(written(tmp_path, rows))))
    assert len(splits["train"]) == 8
    counts = splits.facts["read"]["counts"]
    assert {name.removeprefix("turns: ") for name in counts if name.startswith("turns: ")} == {*BAD}


def test_mostly_none_is_refused(tmp_path: Path) -> None:
    rows = [{"messages": turns} for turns in (GOOD, *[BAD["unknown role 'tool'"]] * 3)]
    with pytest.raises(DataError, match="3 of 4 rows would be lost: 3 rows are no conversations: unknown role 'tool'"):
        read(DataSettings(data=str(written(tmp_path, rows))))


def test_a_conversation_without_its_last_answer_is_unlabelled(tmp_path: Path) -> None:
    rows = [{"messages": GOOD}, {"messages": GOOD[:3]}]
    (found,) = rows_of(written(tmp_path, rows), "unlabelled")
    assert found["turns"] == GOOD[:3]


def test_rows_to_answer_name_what_is_wrong(tmp_path: Path) -> None:
    told: list[str] = []
    place = written(tmp_path, [{"messages": BAD["two turns of one role"]}, {"messages": GOOD[:3]}])
    rows = list(stream_rows(str(place), on_left_out=lambda error: told.append(error.problem)))
    assert [row["turns"] for row in rows] == [GOOD[:3]]
    assert "two turns of user one after the other" in told[0]
    with pytest.raises(DataError, match="one after the other"):
        list(stream_rows(str(place)))


def test_halves_of_characters_are_mended(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "a\\ud800"}, {"role": "assistant", "content": "b"}]}\n')  # fmt: skip
    assert rows_of(tmp_path / "a.jsonl")[0]["text"] == "a\ufffd"
