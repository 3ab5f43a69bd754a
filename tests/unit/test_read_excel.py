"""Excel workbooks as people bring them: titles above the names, numbers, dates, rich text, sheets; and damaged or hostile ones."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
ROWS = [(f"some words of row {i}", "ab"[i % 2]) for i in range(12)]
STYLES = (
    f'<styleSheet {MAIN}><numFmts count="1"><numFmt numFmtId="164" formatCode="[$-409]d\\ mmm\\ yyyy"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="2"/></cellXfs></styleSheet>'
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def letters(place: int) -> str:
    return "ABCDEFGHIJ"[place]


def sheet_xml(rows: list[tuple[Any, ...]], shared: list[str]) -> str:
    """Cells in all the ways that programs write them: shared texts, texts in place, numbers, booleans, errors."""
    lines = []
    for number, row in enumerate(rows, 1):
        cells = []
        for place, cell in enumerate(row):
            where = f'r="{letters(place)}{number}"'
            if cell is None:
                continue
            if isinstance(cell, dict):
                cells.append(f"<c {where} {cell['is']}><v>{cell['v']}</v></c>")
            elif isinstance(cell, bool):
                cells.append(f'<c {where} t="b"><v>{int(cell)}</v></c>')
            elif isinstance(cell, (int, float)):
                cells.append(f"<c {where}><v>{cell}</v></c>")
            elif place % 2:
                cells.append(f'<c {where} t="inlineStr"><is><t>{escape(cell)}</t></is></c>')
            else:
                shared.append(cell)
                cells.append(f'<c {where} t="s"><v>{len(shared) - 1}</v></c>')
        if cells:
            lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    return f"<worksheet {MAIN}><sheetData>{''.join(lines)}</sheetData></worksheet>"


def workbook(path: Path, sheets: dict[str, list[tuple[Any, ...]]], hidden: str = "", **parts: str) -> Path:
    shared: list[str] = []
    bodies = {name: sheet_xml(rows, shared) for name, rows in sheets.items()}
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{i}" r:id="rId{i}"{" state=" + chr(34) + "hidden" + chr(34) if name == hidden else ""}/>'
        for i, name in enumerate(sheets, 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{i}" Target="worksheets/sheet{i}.xml"/>' for i in range(1, len(sheets) + 1)
    )
    texts = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in shared)
    content = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{OFFICE}"><workbookPr/><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f"<Relationships>{relations}</Relationships>",
        "xl/sharedStrings.xml": f"<sst {MAIN}>{texts}</sst>",
        "xl/styles.xml": STYLES,
        **{f"xl/worksheets/sheet{i}.xml": body for i, body in enumerate(bodies.values(), 1)},
        **{name.replace("__", "/") + ".xml": body for name, body in parts.items()},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in content.items():
            archive.writestr(name, body)
    return path


def get(path: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(path), **flags))


def notes(splits: Splits) -> str:
    return " ".join(splits.facts["read"]["notes"])


def test_a_workbook_of_one_sheet(tmp_path: Path) -> None:
    path = workbook(tmp_path / "news.xlsx", {"Sheet1": [("text", "label"), *ROWS], "Sheet2": []})
    splits = get(path)
    assert list(zip(splits["train"][:]["text"], splits["train"][:]["label"], strict=True)) == ROWS
    assert splits["train"][0]["id"] == "news.xlsx row 2", "the row that Excel shows"
    assert splits.facts["read"]["files"][0]["sheet"] == "Sheet1"


def test_titles_above_the_names_and_blank_rows_and_cells(tmp_path: Path) -> None:
    rows = [("Customer comments",), (), ("text", "label", "note"), *ROWS[:6], (), *ROWS[6:], ("no label",)]
    splits = get(workbook(tmp_path / "a.xlsx", {"Sheet1": rows}))
    assert len(splits["train"]) == 12
    assert splits["train"][6]["id"] == "a.xlsx row 11"
    assert len(splits["unlabelled"]) == 1
    assert "1 lines above the names of the columns were left out (Customer comments)" in notes(splits)


def test_numbers_booleans_dates_and_errors(tmp_path: Path) -> None:
    rows = [
        ("text", "stars", "ok", "when"),
        ("one text of words", 5.0, True, {"is": 's="1"', "v": "45291"}),
        ("another text of words", 3, False, {"is": 's="2"', "v": "45291.5"}),
        ("a third text of words", {"is": 't="e"', "v": "#N/A"}, True, {"is": 's="1"', "v": "0.75"}),
    ]
    path = workbook(tmp_path / "a.xlsx", {"S": rows})
    stars = get(path, column=("label=stars",))
    assert stars["train"][:]["label"] == ["5", "3"]
    assert len(stars["unlabelled"]) == 1, "#N/A is no value"
    assert get(path, column=("label=ok",))["train"][:]["label"] == ["true", "false", "true"]
    assert get(path, column=("label=when",))["train"][:]["label"] == ["2023-12-31", "2023-12-31 12:00:00", "18:00:00"]


def test_rich_text_and_escapes(tmp_path: Path) -> None:
    shared = (
        f"<sst {MAIN}><si><r><t>two </t></r><r><rPr><b/></rPr><t>parts &amp; more</t></r><rPh><t>spoken</t></rPh></si>"
        "<si><t>text</t></si><si><t>a line_x000D_\nand another</t></si></sst>"
    )
    sheet = (
        f'<worksheet {MAIN}><sheetData><row><c t="s"><v>1</v></c><c t="str"><v>label</v></c></row>'
        '<row><c t="s"><v>0</v></c><c t="str"><v>x</v></c></row><row><c t="s"><v>2</v></c><c t="str"><f>A1&amp;B1</f><v>y</v></c></row>'
        "</sheetData></worksheet>"
    )
    path = workbook(tmp_path / "a.xlsx", {"S": []}, xl__sharedStrings=shared, xl__worksheets__sheet1=sheet)
    assert get(path)["train"][:]["text"] == ["two parts & more", "a line\r\nand another"]
    assert get(path)["train"][:]["label"] == ["x", "y"]


def test_sheets_called_after_splits(tmp_path: Path) -> None:
    sheets = {"Train": [("text", "label"), *ROWS], "Test": [("text", "label"), *ROWS[:4]], "Notes": [("made by hand",)]}
    splits = get(workbook(tmp_path / "a.xlsx", sheets))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 12, "test": 4}
    assert "sheets left out: Notes" in notes(splits)


def test_other_sheets_are_told_and_hidden_ones_come_last(tmp_path: Path) -> None:
    sheets = {"Lists": [("text", "label"), *ROWS[:3]], "Data": [("text", "label"), *ROWS]}
    splits = get(workbook(tmp_path / "a.xlsx", sheets, hidden="Lists"))
    assert len(splits["train"]) == 12
    assert "sheets left out: Lists" in notes(splits)


def test_a_workbook_in_a_folder_and_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    workbook(tmp_path / "place" / "train.xlsx", {"S": [("text", "label"), *ROWS]})
    workbook(tmp_path / "place" / "test.xlsx", {"S": [("text", "label"), *ROWS[:4]]})
    assert {name: len(rows) for name, rows in get(tmp_path / "place").items()} == {"train": 12, "test": 4}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "place" / "train.xlsx", "train.xlsx")
    assert len(get(tmp_path / "a.zip")["train"]) == 12


def test_columns_and_header_as_told(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"S": [("comment", "verdict of the jury"), *ROWS]})
    assert len(get(path, column=("text=comment", "label=verdict of the jury"))["train"]) == 12
    assert len(get(path, header="no", column=("text=0", "label=1"))["train"]) == 13


BROKEN = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "no workbook": lambda path: workbook(path, {}),
    "open element": lambda path: workbook(
        path, {"S": ROWS}, xl__worksheets__sheet1=f"<worksheet {MAIN}><sheetData><row>"
    ),
    "entities": lambda path: workbook(
        path, {"S": ROWS}, xl__sharedStrings='<!DOCTYPE x [<!ENTITY a "b">]><sst><si><t>&a;</t></si></sst>'
    ),
    "a text that is not there": lambda path: workbook(path, {"S": ROWS}, xl__sharedStrings=f"<sst {MAIN}></sst>"),
    "a number that is none": lambda path: workbook(path, {"S": [("text", "n"), ("a b c", {"is": "", "v": "one"})]}),
    "a column that is none": lambda path: workbook(
        path,
        {"S": []},
        xl__worksheets__sheet1=f'<worksheet {MAIN}><row r="1"><c r="ZZZZZ1"><v>1</v></c></row></worksheet>',
    ),
    "empty": lambda path: workbook(path, {"S": []}),
    "a cell beside the table": lambda path: workbook(
        path, {"S": [("text", "label"), *ROWS * 100, ("a", "b", None, "stray")]}
    ),
    "two columns of one name": lambda path: workbook(
        path, {"S": [("text", "label", "text"), *[(*row, "x") for row in ROWS]]}
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_workbooks_are_named(name: str, tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", {"S": [("text", "label"), *ROWS]})
    BROKEN[name](path)
    with pytest.raises(DataError, match=r"a\.xlsx") as caught:
        get(path)
    assert caught.value.fix


def test_one_long_text_in_many_cells_is_refused(tmp_path: Path) -> None:
    cells = "".join(f'<row r="{i}"><c r="A{i}" t="s"><v>0</v></c></row>' for i in range(1, 20_000))
    path = workbook(
        tmp_path / "bomb.xlsx",
        {"S": []},
        xl__sharedStrings=f"<sst {MAIN}><si><t>{'x' * 500_000}</t></si></sst>",
        xl__worksheets__sheet1=f"<worksheet {MAIN}><sheetData>{cells}</sheetData></worksheet>",
    )
    assert path.stat().st_size < 300_000
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        get(path)


def test_years_counted_from_1904(tmp_path: Path) -> None:
    rows = [("text", "day"), ("one text", {"is": 's="1"', "v": "1"}), ("another text", {"is": 's="1"', "v": "366"})]
    listed = '<sheet name="S" sheetId="1" r:id="rId1"/>'
    book = f'<workbook {MAIN} xmlns:r="{OFFICE}"><workbookPr date1904="1"/><sheets>{listed}</sheets></workbook>'
    path = workbook(tmp_path / "a.xlsx", {"S": rows}, xl__workbook=book)
    assert get(path, column=("label=day",))["train"][:]["label"] == ["1904-01-02", "1905-01-01"]
