"""The charts: what they draw, that they stay inside their frame, and that text from data cannot break out."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from markupsafe import Markup

from pretune.report.drawing.charts import Series, Whisker, bars, dot_whisker, histogram, line_chart
from pretune.report.drawing.grids import Node, confused_pairs, heat_map, lineage, reliability
from pretune.report.drawing.svg import Scale, responsive, shorten, text_width, thin, ticks
from pretune.report.words import percent_tick

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
CHINESE = "经济新闻与房地产市场的最新消息"
WIDTHS = (896, 340)


def parsed(chart: Markup) -> ElementTree.Element:
    """The chart as XML: it must be well formed."""
    return ElementTree.fromstring(str(chart))


def texts(chart: Markup) -> list[str]:
    return [node.text or "" for node in parsed(chart).iter("text")]


def frame(chart: Markup) -> tuple[float, float]:
    box = parsed(chart).attrib["viewBox"].split()
    return float(box[2]), float(box[3])


def assert_inside(chart: Markup) -> None:
    """No line end, dot, bar or text start lies outside the drawing."""
    width, height = frame(chart)
    for node in parsed(chart).iter():
        for names, most in ((("x", "x1", "x2", "cx"), width), (("y", "y1", "y2", "cy"), height)):
            for name in names:
                if name in node.attrib:
                    assert -0.5 <= float(node.attrib[name]) <= most + 0.5, (node.tag, node.attrib)


def whisker(name: str, value: float, half: float, **more: bool) -> Whisker:
    return Whisker(
        name, value, value - half, value + half, f"{value:.2f} [{value - half:.2f}, {value + half:.2f}]", **more
    )


def draw_all(label: str, width: int) -> list[Markup]:
    """Every chart once, with a label from data wherever there is one."""
    bins = [{"low": 0.5, "high": 1, "confidence": 0.8, "accuracy": 0.7, "n": 9}]
    return [
        line_chart(
            [Series(label, [1, 2], [3.0, 1.0]), Series(label, [1], [2.0])],
            title=label,
            x_title=label,
            y_title=label,
            width=width,
        ),
        bars([(label, 3), (label + "2", 1)], title=label, width=width),
        histogram([(0, 1, 5), (1, 2, 0)], title=label, x_title=label, width=width),
        dot_whisker([whisker(label, 0.5, 0.1, own=True), whisker(label, 0.3, 0.1)], title=label, width=width),
        heat_map([label, label + "2"], [[5, 1], [0, 4]], title=label, row_title=label, column_title=label, width=width),
        reliability([{"name": label, "bins": bins}, {"name": label, "bins": bins}], title=label, width=width),
        lineage([Node("a", label, 0, (label,)), Node("b", label, 1, (label,), ("a",))], title=label, width=width),
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("label", [HOSTILE, CHINESE, "x", "", "a very long label indeed " * 12])
def test_every_chart_is_well_formed_named_and_inside_its_frame(label: str, width: int) -> None:
    for chart in draw_all(label, width):
        root = parsed(chart)
        assert root.attrib["role"] == "img"
        assert label in root.attrib["aria-label"] or not label.strip()
        assert root[0].tag == "title"
        assert root[1].tag == "desc"
        assert not [node for node in root.iter() if node.tag in ("script", "img")]
        assert not [name for node in root.iter() for name in node.attrib if name.startswith("on") or name == "style"]
        assert_inside(chart)


def test_the_same_data_give_the_same_bytes() -> None:
    assert [str(chart) for chart in draw_all(CHINESE, 896)] == [str(chart) for chart in draw_all(CHINESE, 896)]


def test_a_single_point_stands_inside_as_a_dot_and_a_constant_series_gets_a_scale() -> None:
    one = line_chart([Series("", [500], [0.5])], title="t", x_title="step", y_title="loss")
    dots = list(parsed(one).iter("circle"))
    assert len(dots) == 1
    assert not list(parsed(one).iter("path"))
    assert_inside(one)
    constant = line_chart([Series("", [1, 2, 3], [2.0, 2.0, 2.0])], title="t", x_title="step", y_title="loss")
    assert_inside(constant)
    assert "2" in texts(constant)


def test_values_that_are_not_finite_are_left_out_and_nothing_is_an_empty_string() -> None:
    chart = line_chart([Series("", [1, 2, 3], [math.nan, math.inf, 1.0])], title="t", x_title="x", y_title="y")
    assert len(list(parsed(chart).iter("circle"))) == 1
    assert line_chart([Series("", [], [])], title="t", x_title="x", y_title="y") == ""
    assert bars([], title="t") == ""
    assert histogram([], title="t", x_title="x") == ""
    assert dot_whisker([whisker("a", math.nan, 0)], title="t") == ""
    assert heat_map([], [], title="t", row_title="a", column_title="b") == ""
    assert reliability([{"name": "a", "bins": []}], title="t") == ""
    assert lineage([], title="t") == ""


def test_thinning_keeps_the_ends_and_the_peaks() -> None:
    points = [(float(x), 0.0) for x in range(5000)]
    points[2500] = (2500.0, 9.0)
    points[3777] = (3777.0, -9.0)
    kept = thin(points, 400)
    assert len(kept) <= 400
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert {(2500.0, 9.0), (3777.0, -9.0)} <= set(kept)
    assert kept == sorted(kept)
    assert thin(points[:400], 400) == points[:400]


def test_a_long_line_is_drawn_with_at_most_400_points() -> None:
    chart = line_chart(
        [Series("", list(range(3000)), [float(x % 7) for x in range(3000)])], title="t", x_title="x", y_title="y"
    )
    (path,) = parsed(chart).iter("path")
    assert 300 < path.attrib["d"].count("L") < 400


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 2109, [0, 500, 1000, 1500, 2000]),
        (0.874, 0.889, [0.875, 0.88, 0.885]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_scale_maps_its_ends_and_gives_a_single_value_the_middle() -> None:
    scale = Scale.over([10.0, 30.0], 100, 300)
    assert (scale(10), scale(20), scale(30)) == (100, 200, 300)
    assert Scale.over([7.0], 0, 100)(7.0) == pytest.approx(50)
    assert Scale.over([0.0, 0.0], 0, 100)(0.0) == pytest.approx(50)


def test_whiskers_stand_in_the_order_of_their_values() -> None:
    chart = dot_whisker([whisker("a", 0.9, 0.01, own=True), whisker("b", 0.5, 0.02)], title="t")
    first, second = (float(node.attrib["cx"]) for node in parsed(chart).iter("circle"))
    assert first > second
    assert "0.90 [0.89, 0.91]" in texts(chart)


def test_bars_tell_what_they_leave_out() -> None:
    chart = bars([(f"label {i}", 100 - i) for i in range(60)], title="t", most=40)
    assert len(list(parsed(chart).iter("rect"))) == 40
    assert texts(chart)[-1] == "and 20 more with 1,010 rows together"


def test_the_heat_map_shades_by_the_share_of_the_row() -> None:
    chart = heat_map(["a", "b"], [[30, 10], [0, 1]], title="t", row_title="truth", column_title="predicted")
    cells = [node for node in parsed(chart).iter("rect") if "heat" in node.attrib["class"]]
    assert [cell.attrib["class"] for cell in cells] == ["heat right", "heat wrong", "heat wrong", "heat right"]
    assert [float(cell.attrib["fill-opacity"]) for cell in cells] == pytest.approx([0.9375, 0.235, 0, 1.0], abs=0.006)
    assert {"30", "10", "1"} <= set(texts(chart))


def test_many_classes_make_the_drawing_larger_not_the_cells_smaller() -> None:
    labels = [f"{CHINESE}{i}" for i in range(40)]
    chart = heat_map(labels, [[1000] * 40 for _ in labels], title="t", row_title="a", column_title="b", width=340)
    cells = [float(node.attrib["width"]) for node in parsed(chart).iter("rect")]
    assert min(cells) >= 20
    assert frame(chart)[0] > 40 * 22
    assert_inside(chart)


def test_confused_pairs_are_the_largest_cells_off_the_diagonal() -> None:
    assert confused_pairs(["a", "b"], [[3, 1], [4, 4]]) == [("b", "a", 4, 0.5), ("a", "b", 1, 0.25)]
    assert confused_pairs(["a"], [[0]]) == []


def test_empty_calibration_bins_are_left_out() -> None:
    bins = [
        {"low": 0, "high": 0.5, "confidence": 0.0, "accuracy": 0.0, "n": 0},
        {"low": 0.5, "high": 1, "confidence": 0.9, "accuracy": 0.5, "n": 4},
    ]
    chart = reliability([{"name": "as trained", "bins": bins}], title="t")
    assert len(list(parsed(chart).iter("circle"))) == 1
    assert "40.0\u00a0%" in parsed(chart)[1].text


def test_lineage_puts_the_oldest_on_top_with_an_arrow_to_each_child() -> None:
    nodes = [Node("c", "child", 0), Node("p", "parent", 1, (), ("c",)), Node("g", "grandparent", 2, (), ("p", "c"))]
    chart = lineage(nodes, title="t")
    heights = {node.text: float(node.attrib["y"]) for node in parsed(chart).iter("text")}
    assert heights["grandparent"] < heights["parent"] < heights["child"]
    assert len([node for node in parsed(chart).iter("g") if node.attrib.get("class") == "arrow"]) == 3


def test_shortening_keeps_within_its_room_and_keeps_the_whole_for_the_pointer() -> None:
    assert shorten("short", 200) == "short"
    cut = shorten(CHINESE * 3, 100)
    assert cut.endswith("…")
    assert text_width(cut) <= 100
    chart = bars([(CHINESE * 3, 1)], title="t", width=340)
    assert CHINESE * 3 in [node.text for node in parsed(chart).iter("title")]


def test_responsive_draws_for_desk_and_phone() -> None:
    both = responsive(lambda width: Markup("<svg>{}</svg>").format(width))
    assert str(both) == '<div class="chart wide"><svg>896</svg></div><div class="chart narrow"><svg>340</svg></div>'


def test_a_lone_row_keeps_its_name_and_close_ticks_differ() -> None:
    chart = dot_whisker([whisker("this model", 0.0095, 0.0001, own=True)], title="t", axis_text=percent_tick)
    assert "this model" in texts(chart)
    shown = [word for word in texts(chart) if word.endswith("%")]
    assert len(shown) == len(set(shown)) > 2
