"""The parts of pages: blocks, the passport page, figures, colours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_samples import HOSTILE, Tree, assert_self_contained, blocks, passport, score

from pretune.report import layout
from pretune.report.blocks import BLOCKS, render_block
from pretune.report.drawing.charts import histogram
from pretune.report.drawing.grids import MOSTLY, _shade
from pretune.report.parts.scores import _score_table
from pretune.report.passport.findings import findings
from pretune.report.passport.page import write_passport_page
from pretune.report.words import duration_text, is_percent, number_text, score_text, title_of


@pytest.mark.parametrize("kind", sorted(BLOCKS))
def test_each_kind_of_block_has_its_function(kind: str) -> None:
    (block,) = [block for block in blocks("经济") if block["type"] == kind]
    tree = Tree(str(render_block(block)))
    assert "经济" in tree.text or kind == "curve"
    assert str(block["title"]) in tree.text


def test_a_table_block_writes_each_kind_of_cell() -> None:
    text = Tree(str(render_block(blocks("b")[0]))).text
    assert "50.0 % [49.0, 51.0]" in text
    assert "25.0 %" in text
    assert "1,234" in text


def test_more_than_forty_classes_become_pairs() -> None:
    labels = [f"class {i}" for i in range(41)]
    values = [[9 if i == j else 5 if j == i + 1 else 0 for j in range(41)] for i in range(41)]
    tree = Tree(str(render_block({"type": "matrix", "labels": labels, "values": values})))
    assert not tree.all("svg")
    assert "41 classes are too many to draw" in tree.text
    assert "class 0 class 1 5 35.7 %" in tree.text


def test_an_unknown_block_and_a_broken_matrix_are_said() -> None:
    assert "cannot show a block of kind “hologram”" in str(render_block({"type": "hologram"}))
    assert "not square" in str(render_block({"type": "matrix", "labels": ["a"], "values": [[1, 2]]}))


def test_long_lists_fold() -> None:
    rows = [{"id": str(i), "text": f"text {i}", "truth": "a", "predicted": "b", "probability": 0.5} for i in range(20)]
    tree = Tree(str(render_block({"type": "examples", "title": "Mistakes", "rows": rows})))
    assert "8 more" in tree.text
    assert "text 19" in tree.text
    assert len(tree.all("details")) == 1


def test_a_picture_with_axes_stands_between_their_labels() -> None:
    row = {"image": "data:image/png;base64,AA==", "axes": {"x": ["0 s", "2 s"], "y": ["4 kHz", "<20 Hz"]}, "truth": "a"}
    framed = str(render_block({"type": "examples", "title": "Clips", "rows": [row]}))
    assert framed.index("4 kHz") < framed.index("&lt;20 Hz") < framed.index("<img") < framed.index("0 s")
    assert "framed" not in str(render_block({"type": "examples", "title": "Clips", "rows": [{**row, "axes": None}]}))


def test_an_empty_passport_makes_a_page(tmp_path: Path) -> None:
    html = write_passport_page({}, tmp_path / "data.html", "nothing").read_text(encoding="utf-8")
    assert_self_contained(html)
    assert "The passport is empty." in html


def test_hostile_strings_stay_text_in_a_passport(tmp_path: Path) -> None:
    html = write_passport_page(passport(HOSTILE), tmp_path / "data.html", HOSTILE).read_text(encoding="utf-8")
    assert_self_contained(html)
    assert HOSTILE in Tree(html).text


def test_the_passport_page_shows_what_is_known(tmp_path: Path) -> None:
    text = Tree(write_passport_page(passport(), tmp_path / "data.html", "thucnews").read_text(encoding="utf-8")).text
    assert "50 rows in 2 splits: train and test." in text
    assert "1 error. Mend the data before you trust a score on them." in text
    assert "train test 4 5 – 12.50 %" in text
    assert "b (a:1); 财经 (a:2)" in text
    assert "e-mail addresses 3" in text
    assert "In characters: min 1, median 20, max 40." in text
    assert "Read as b." in text


@pytest.mark.parametrize(
    ("column", "unit", "words"),
    [
        ("image", "pixels", ("Pictures", "Size of the pictures in train", "pixels of a picture's shorter side")),
        ("audio", "seconds", ("Clips", "Length of the clips in train", "seconds of a clip", "A frame is 20 ms.")),
    ],
)
def test_a_passport_of_pictures_or_clips_speaks_of_them(
    column: str, unit: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    spread = {"min": 1, "median": 2.0, "max": 9, "histogram": {"edges": [1, 5, 9], "counts": [3, 4]}}
    split = {"rows": 7, "columns": ["id", column], "length": {"unit": unit, unit: spread, "words": None}}
    found = {"splits": {"train": split}, "tokens": {"train": {"rows": 7, "frames": 90}}}
    text = Tree(write_passport_page(found, tmp_path / "data.html", "x").read_text(encoding="utf-8")).text
    assert [word for word in words if word not in text] == []
    assert "Token" not in text
    assert "Text" not in text
    split["length"] = {"unit": unit, unit: {**spread, "min": 9}}
    text = Tree(write_passport_page(found, tmp_path / "data.html", "x").read_text(encoding="utf-8")).text
    assert f"in train: all have 9 {unit}" in text


def test_how_data_were_read_is_told_without_what_is_empty(tmp_path: Path) -> None:
    files = [{"name": "a.jsonl", "rows": 2700, "columns": {"text": "said"}}, {"name": "b.jsonl", "rows": 30}]
    read = {"media": {"kind": "audio", "left_out": {}}, "counts": {}, "moved": None, "files": files}
    html = write_passport_page({"splits": {}, "facts": {"read": read}}, tmp_path / "data.html", "x").read_text("utf-8")
    text = Tree(html).text
    assert "media kind: audio" in text
    assert "counts" not in text
    assert "moved" not in text
    assert "a.jsonl 2,700 text: said b.jsonl 30" in text


def test_error_rates_over_one_stay_shares_and_histograms_have_short_labels() -> None:
    assert score_text("cer", {"value": 0.975, "low": 0.924, "high": 1.026}) == "97.5\u00a0% [92.4, 102.6]"
    assert score_text("log_loss", {"value": 1.2}) == "1.200"
    assert score_text("masked_error", {"value": 0.7}) == "0.700"
    drawn = str(histogram([(0.1436, 0.1883, 3), (0.1883, 0.233, 4)], title="t", x_title="seconds"))
    assert ">0.14<" in drawn
    assert ">0.19<" in drawn


def test_figures_are_written_in_one_way() -> None:
    assert score_text("accuracy", score(0.912)) == "91.2\u00a0% [90.2, 92.2]"
    assert score_text("log_loss", score(0.31)) == "0.310 [0.300, 0.320]"
    assert score_text("accuracy", {"value": None, "low": None, "high": None}) == "–"
    assert is_percent("f1_macro", score(0.5))
    assert not is_percent("pseudo_perplexity", score(24.0))
    assert not is_percent("mcc", score(0.5))
    assert title_of("f1_macro") == "F1 (macro)"
    assert title_of("a_new-score") == "a new score"
    written = {
        1234567: "1,234,567",
        1234.5: "1,234",
        123.45: "123.5",
        12.3: "12.30",
        0.5: "0.500",
        0.00001: "1e-05",
        True: "yes",
        None: "–",
    }
    assert [number_text(value) for value in written] == list(written.values())
    assert [duration_text(seconds) for seconds in (0.25, 59, 61, 3600, 12000, None)] == [
        "0.2 s",
        "59 s",
        "1 min 1 s",
        "1 h",
        "3 h 20 min",
        "–",
    ]


def colours() -> list[dict[str, str]]:
    css = (layout.HERE / "style.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", found))
        for found in re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    )
    return [light, {**light, **dark}]


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", colours())
def test_contrast_is_enough_in_light_and_dark(theme: dict[str, str]) -> None:
    for ink in ("ink", "quiet", "accent", "error", "warning"):
        for paper in ("paper", "soft"):
            assert contrast(theme[ink], theme[paper]) >= 4.5, (ink, paper)
    for kind in ("error", "warning"):
        assert contrast(theme[kind], theme[f"{kind}-soft"]) >= 4.5
        assert contrast(theme["ink"], theme[f"{kind}-soft"]) >= 4.5
    for line in ("s0", "s1", "s2", "s3", "s4", "s5"):
        assert contrast(theme[line], theme["paper"]) >= 3


def blended(over: str, under: str, share: float) -> str:
    parts = [round(share * int(over[k : k + 2], 16) + (1 - share) * int(under[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in parts)


@pytest.mark.parametrize("theme", colours())
@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_counts_can_be_read_on_every_shade_of_the_heat_map(theme: dict[str, str], kind: str) -> None:
    for percent in range(101):
        share = percent / 100
        cell = blended(theme[kind], theme["soft"], _shade(share))
        assert contrast(theme["paper" if share > MOSTLY else "ink"], cell) >= 4.5, share


def test_a_finding_counts_the_rows_it_does_not_name() -> None:
    found = {
        "severity": "warning",
        "code": "x",
        "message": "33 rows",
        "count": 33,
        "rows": [f"a:{i}" for i in range(20)],
        "fix": "",
    }
    assert "a:6, a:7 and 25 more" in Tree(str(findings({"findings": [found]}))).text


def test_micro_averages_that_are_the_accuracy_are_left_out() -> None:
    same, other = score(0.9), score(0.8)
    scores = {"accuracy": same, "precision_micro": same, "recall_macro": same}
    baselines = {"majority": {"accuracy": other, "precision_micro": other, "recall_macro": same}}
    shown = Tree(str(_score_table("test", {"n": 9, "scores": scores, "baselines": baselines}))).text
    assert "micro" not in shown
    assert "recall (macro)" in shown
    apart = {"majority": {**baselines["majority"], "precision_micro": same}}
    assert "precision (micro)" in Tree(str(_score_table("test", {"n": 9, "scores": scores, "baselines": apart}))).text
