"""Text tables and lines as people bring them: what stands above the names, what is a header, labels before their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError, UsageError
from pretune.tasks.listing import find_task


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(path: Path, content: str, **flags: Any) -> Splits:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return read(DataSettings(data=str(path), **flags))


def notes(splits: Splits) -> str:
    return " ".join(splits.facts["read"]["notes"])


def rows(mark: str = ",", count: int = 12) -> str:
    return "".join(f"some words of row {i}{mark}{'ab'[i % 2]}\n" for i in range(count))


def test_the_line_of_excel_says_the_delimiter(tmp_path: Path) -> None:
    splits = get(tmp_path / "a.csv", "sep=;\ntext;label\n" + rows(";"))
    assert splits["train"][0] == {"id": "a.csv:3", "text": "some words of row 0", "label": "a"}
    assert len(splits["train"]) == 12
    commas = get(tmp_path / "b.csv", 'sep=;\n"text";"label"\n' + rows(";").replace("words of", "words, of"))
    assert commas["train"][0]["text"] == "some words, of row 0"


def test_a_broken_row_below_the_line_of_excel_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv:15 has 3 columns"):
        get(tmp_path / "a.csv", "sep=;\ntext;label\n" + rows(";") + "one;two;three\n")
    with pytest.raises(DataError, match=r"a\.csv is empty"):
        get(tmp_path / "a.csv", "sep=;\n")


@pytest.mark.parametrize(
    ("above", "count"), [("Customer comments,\n,\n", 2), ("Customer comments\n\n", 1), ("Report of 2024,,\n", 1)]
)
def test_a_title_above_the_names_of_columns(above: str, count: int, tmp_path: Path) -> None:
    width = above.split("\n")[0].count(",") or 1
    body = "text,label,note\n" if width == 2 else "text,label\n"
    content = above + body + (rows().replace("\n", ",x\n") if width == 2 else rows())
    splits = get(tmp_path / "a.csv", content)
    assert len(splits["train"]) == 12
    assert splits["train"][0]["id"] == f"a.csv:{above.count(chr(10)) + 2}"
    assert f"{count} lines above the names of the columns were left out" in notes(splits)


def test_a_first_row_without_a_label_is_no_title(tmp_path: Path) -> None:
    splits = get(tmp_path / "a.csv", "the first text of all,\n" + rows())
    assert {name: len(part) for name, part in splits.items()} == {"train": 12, "unlabelled": 1}
    named = get(
        tmp_path / "b.csv", ",text,label\n" + "".join(f"{i},{line}\n" for i, line in enumerate(rows().splitlines()))
    )
    assert named["train"][0]["text"] == "some words of row 0", (
        "an index column has no name; the row still names columns"
    )


def test_blanks_after_the_delimiter_before_a_quote(tmp_path: Path) -> None:
    splits = get(
        tmp_path / "a.csv",
        "id, text, label\n" + "".join(f'{i}, "row {i}, of some words", a{i % 2}\n' for i in range(9)),
    )
    assert splits["train"][3] == {"id": "3", "text": "row 3, of some words", "label": "a1"}
    plain = get(
        tmp_path / "b.csv",
        "text,label\n" + "".join(f'he said, "no" and left {i}\tx,a{i % 2}\n'.replace(", ", "; ") for i in range(9)),
    )
    assert plain["train"][0]["text"].startswith('he said; "no" and left'), "quotes inside a cell are plain text"
    spaced = "text, label\n" + "".join(f'"a, b {i}", "x{i % 2}"\n' for i in range(9))
    with pytest.raises(DataError, match=r"a\.csv:11 is not a whole row"):
        get(tmp_path / "a.csv", spaced + '"c, d", "y" junk\n')


MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n" + "".join(
    f"{i % 2}\t{700 + i}\t{900 + i}\tthe first sentence of pair {i} is long\tand the second sentence of pair {i} is long\n"
    for i in range(30)
)


def test_words_over_numbers_are_a_header(tmp_path: Path) -> None:
    wanted = ("text=#1 String", "text_pair=#2 String", "label=Quality")
    splits = get(tmp_path / "msr.txt", MRPC, column=wanted)
    assert len(splits["train"]) == 30
    assert set(splits["train"][:]["label"]) == {"0", "1"}
    assert splits["train"][0]["text_pair"] == "and the second sentence of pair 0 is long"
    with pytest.raises(DataError) as caught:
        get(tmp_path / "msr.txt", MRPC)
    assert "--column 'text=#1 String'" in caught.value.fix, "what is advised can be pasted"
    assert "--column label=Quality (0, 1)" in caught.value.fix
    with pytest.raises(DataError, match="no column 'Quality2'"):
        get(tmp_path / "msr.txt", MRPC, column=(*wanted[:2], "label=Quality2"))


def test_the_word_that_was_asked_for_makes_a_header(tmp_path: Path) -> None:
    content = "what was said by them,what it is\n" + "".join(f"short {i},b{i % 2}\n" for i in range(9))
    splits = get(tmp_path / "a.csv", content, column=("text=what was said by them", "label=what it is"))
    assert len(splits["train"]) == 9


def test_a_first_row_of_values_is_no_header(tmp_path: Path) -> None:
    more = "a row of words,7,unknown\n" + "".join(f"another row of words {i},{i % 2},{30 + i}\n" for i in range(9))
    assert sum(map(len, get(tmp_path / "b.csv", more, column=("text=0", "label=1")).values())) == 10
    for first in ("a row of words,1\n", "a row of words,NA\n", "a row of words,\n"):
        splits = get(tmp_path / "a.csv", first + "".join(f"another row of words {i},{i % 2}\n" for i in range(9)))
        assert sum(map(len, splits.values())) == 10, first


FOUR = "".join(
    f"def function_{i}(x):\treturn x + {i} # a long line of code\t{('java', 'python', 'go')[i % 3]}\tuser{i}/repo{i}\t{i % 2}\n".replace("\treturn", " return")
    for i in range(60)
)  # fmt: skip


def test_advice_names_the_most_label_like_column_with_its_values(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        get(tmp_path / "code.tsv", FOUR)
    assert "several columns that may be the label" in caught.value.problem
    assert caught.value.fix.startswith("name it: --column label=1 (java, python, go); it may also be 3 (0, 1)")
    splits = get(tmp_path / "named.tsv", "code\tlanguage\trepository\tok\n" + FOUR)
    note = next(note for note in splits.facts["read"]["notes"] if "no column was taken" in note)
    assert "--column label=language (java, python, go); it may also be ok (0, 1)" in note
    assert splits.facts["read"]["files"][0]["advice"] in note, "the same words wherever a label is asked for"
    with pytest.raises(DataError, match="no training rows with labels") as caught:
        find_task(splits)
    assert caught.value.fix.startswith("name it: --column label=language (java, python, go)"), (
        "and the task says them too"
    )
    with pytest.raises(DataError, match=r"topic \(x, y\), emotion \(p, q\)") as caught:
        get(tmp_path / "two.csv", "text,topic,emotion\n" + "some words here,x,p\nother words here,y,q\n" * 5)
    assert "--column label=topic" in caught.value.fix


@pytest.mark.parametrize("cell", ["clips/take {i}.xmf", "C:\\scans\\IMG_{i}.dcm", "https://example.org/a/{i}.webm"])
def test_a_column_of_names_of_files_is_no_text(cell: str, tmp_path: Path) -> None:
    content = "file,label\n" + "".join(f"{cell.format(i=i)},{'ab'[i % 2]}\n" for i in range(20))
    with pytest.raises(DataError, match="names of files, such as") as caught:
        get(tmp_path / "list.csv", content)
    assert "--column text=file reads the names themselves" in caught.value.fix
    assert len(get(tmp_path / "list.csv", content, column=("text=file", "label=label"))["train"]) == 20


def test_names_of_files_that_are_there_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    for i in range(20):
        (tmp_path / "letters" / f"letter {i} to a friend").write_text(f"dear friend, this is letter {i}")
    content = "document,label\n" + "".join(f"letters/letter {i} to a friend,{'ab'[i % 2]}\n" for i in range(20))
    with pytest.raises(DataError, match="names of files, such as 'letters/letter 0 to a friend'"):
        get(tmp_path / "list.csv", content)
    assert len(get(tmp_path / "elsewhere" / "list.csv", content)["train"]) == 20, (
        "where no such files lie, words are words"
    )


def test_texts_that_mention_files_stay_texts(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(
        f"please look at the file report{i}.pdf and write back,{'ab'[i % 2]}\n" for i in range(20)
    )
    assert len(get(tmp_path / "a.csv", content)["train"]) == 20
    ends = "text,label\n" + "".join(
        f"it was fine {i}.,{'ab'[i % 2]}\nread more at site{i}.com,{'ab'[i % 2]}\n" for i in range(20)
    )
    assert len(get(tmp_path / "b.csv", ends)["train"]) == 40
    mail = "text,label\n" + "".join(f"write to me at friend{i}@letters.org,{'ab'[i % 2]}\n" for i in range(20))
    assert len(get(tmp_path / "c.csv", mail)["train"]) == 20
    icons = "file,label\n" + "".join(f"icons/menu{i}@2x.png,{'ab'[i % 2]}\n" for i in range(20))
    with pytest.raises(DataError):
        get(tmp_path / "d.csv", icons)


TREC = "".join(
    f"{('DESC:manner', 'NUM:date', 'HUM:ind')[i % 3]} How is question number {i} to be put ?\n" for i in range(40)
)
FAST = "".join(f"__label__{'ab'[i % 2]} a text of number {i}\n" for i in range(20))


def test_labels_before_their_text_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"begin with one of 3 words: DESC:manner, NUM:date, HUM:ind; are these"
    ) as caught:
        get(tmp_path / "TREC.train.all", TREC)
    assert "--format label-first" in caught.value.fix
    splits = get(tmp_path / "TREC.train.all", TREC, format="label-first")
    assert splits["train"][0] == {
        "id": "TREC.train.all:1", "text": "How is question number 0 to be put ?", "label": "DESC:manner",
    }  # fmt: skip
    lines = get(tmp_path / "TREC.train.all", TREC, format="lines")
    assert lines["unlabelled"][0]["text"].startswith("DESC:manner How")


def test_the_mark_of_fasttext_needs_no_word(tmp_path: Path) -> None:
    splits = get(tmp_path / "cooking", FAST)
    assert splits["train"][1] == {"id": "cooking:2", "text": "a text of number 1", "label": "b"}
    several = get(tmp_path / "tags.txt", FAST + "__label__a __label__c both of them\n")
    assert several["train"][-1]["labels"] == ["a", "c"]
    behind = get(tmp_path / "behind.txt", "".join(f"a text of number {i} __label__{'ab'[i % 2]}\n" for i in range(20)))
    assert behind["train"][0]["label"] == "a"


def test_broken_lines_of_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cooking:21 does not begin with __label__"):
        get(tmp_path / "cooking", FAST + "no label here\n")
    with pytest.raises(DataError, match=r"cooking:21 has no text after its label"):
        get(tmp_path / "cooking", FAST + "__label__a\n")
    with pytest.raises(DataError, match=r"a\.txt:41 has no text after its label"):
        get(tmp_path / "a.txt", TREC + "DESC:manner\n", format="label-first")
    with pytest.raises(UsageError, match="--format"):
        get(tmp_path / "a.txt", TREC, format="label-frist")


def test_a_blank_that_cuts_off_the_last_word_is_refused(tmp_path: Path) -> None:
    content = "".join(f"{i % 2} the question number {i} ends in word{i}\n" for i in range(60))
    with pytest.raises(DataError, match="end in 60 different words") as caught:
        get(tmp_path / "sst.txt", content, delimiter=" ")
    assert "--format label-first" in caught.value.fix


def test_plain_prose_is_read_as_before(tmp_path: Path) -> None:
    content = "".join(
        f"{word} is how line {i} of this text begins\n" for i, word in enumerate(map(str.title, FOUR.split()[:60]))
    )
    splits = get(tmp_path / "prose.txt", content)
    assert list(splits) == ["unlabelled"]


def test_a_table_with_a_suffix_that_says_nothing(tmp_path: Path) -> None:
    for name in ("news.data", "news", "news.txt"):
        assert len(get(tmp_path / name, "text,label\n" + rows())["train"]) == 12
    told = get(tmp_path / "bars.data", "what|kind\n" + rows("|"), format="table", column=("text=what", "label=kind"))
    assert len(told["train"]) == 12


def test_row_names_are_lines_of_the_file(tmp_path: Path) -> None:
    content = 'text,label\n"two\nlines",a\n\n' + "plain words,b\n" * 3
    splits = get(tmp_path / "dev.csv", content)
    assert splits["train"][:]["id"] == ["dev.csv:2", "dev.csv:5", "dev.csv:6", "dev.csv:7"]
    for name, text in zip(splits["train"][:]["id"], splits["train"][:]["text"], strict=True):
        line = content.split("\n")[int(name.rpartition(":")[2]) - 1]
        assert line.strip('"').startswith(text.split("\n")[0])
