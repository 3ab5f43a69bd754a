"""The page and the stills of an explained example: whole in themselves, of bounded size, and text stays text."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import Browser, Page, browser
from pretune.explain.attention import Attention, rollout
from pretune.explain.attributions import Attribution, explain_example
from pretune.explain.faithfulness import Faithfulness
from pretune.explain.gradients import Completeness
from pretune.explain.reading import Reading
from pretune.modalities import Modality
from pretune.modalities.image.transform import image_transform_of
from pretune.report.drawing.sheet import Sheet
from pretune.report.explained.page import Explained, explained_page, write_explained_page
from pretune.report.explained.stills import Chosen, still
from pretune.report.layout import render_page
from pretune.tasks import ImageClassification
from pretune.tasks.shown.thumbnails import picture_address
from pretune.types import Example
from tiny import CPU, LABELS, tiny_clips, tiny_image_backbone, tiny_pictures, tiny_sound_task

pytestmark = pytest.mark.slow

HOSTILE = ("[CLS]", "<script>alert(1)</script>", "</script>", "<!--", "股票", "\u2028", "&amp;", "'\"", "[SEP]")


def attention_over(
    tokens: tuple[str, ...], heads: tuple[int, ...] = (3, 2), grid: tuple[int, int] = (0, 0), kind: str = "text"
) -> Attention:
    rng = np.random.default_rng(1)
    count = len(tokens)
    layers = tuple(rng.random((number, count, count), dtype=np.float32) ** 8 for number in heads)
    layers = tuple(layer / layer.sum(axis=-1, keepdims=True) for layer in layers)
    pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    reading = Reading(
        kind=Modality(kind), inputs={}, tokens=tokens, is_special=tuple(token in ("[CLS]", "[SEP]", "class token") for token in tokens),
        prefix=count - grid[0] * grid[1] if kind == "image" else 0, grid=grid, seconds=0.5 if kind == "audio" else 0.0,
        picture="" if kind == "text" else picture_address(pixels),
    )  # fmt: skip
    return Attention(reading=reading, layers=layers, rolled=tuple(rollout(layers)), difference=0.0)


def words(texts: str = "a <b>fine</b> film") -> Attribution:
    pieces = [(found.group(), found.start(), found.end()) for found in re.finditer(r"\w+|[<>/]", texts)]
    return Attribution(
        kind="text", method="integrated gradients", answer="<i>good</i>", explained="<i>good</i>", probability=0.9,
        pieces=tuple(piece for piece, _, _ in pieces), spans=tuple((0, start, stop) for _, start, stop in pieces),
        scores=tuple(np.linspace(1, -0.4, len(pieces)).tolist()), completeness=Completeness(1.0, 1.01, 32),
        faithfulness=Faithfulness((0.0, 0.5, 1.0), (0.9, 0.3, 0.2), (0.9, 0.6, 0.2), 0.15, 0.1, 0.2, 20, "the mask token"),
    )  # fmt: skip


def explained(**changes: object) -> Explained:
    options: dict[str, object] = {
        "run": "<run>", "task": "text-classification", "texts": ("a <b>fine</b> film",), "attribution": words(),
        "attention": attention_over(HOSTILE), "truth": "<u>bad</u>", "notes": ("<s>",), "facts": (("run", "<run>"),),
    }  # fmt: skip
    return Explained(**{**options, **changes})  # type: ignore[arg-type]


def test_the_page_is_whole_in_itself_and_names_its_script():
    html = render_page(explained_page(explained()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert "default-src 'none'" in policy.group(1)
    assert "script-src 'sha256-" in policy.group(1)
    assert "unsafe" not in policy.group(1)
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "http://" not in html.replace("http://www.w3.org/", "")
    assert html == render_page(explained_page(explained()))


def test_a_report_still_has_no_script():
    from pretune.report.layout import Page as Layout

    html = render_page(Layout(title="t", over_title="o", lead=(), sections=()))
    assert "script" not in html


def test_strings_of_the_data_are_text():
    html = render_page(explained_page(explained()))
    data = re.search(r'<script type="application/json" id="attention-data">(.*?)</script>', html, re.DOTALL)
    assert data
    assert json.loads(data.group(1))["tokens"] == list(HOSTILE)
    outside = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL)
    for tag in ("<script", "<b>fine", "<i>", "<u>", "<s>", "<run>", "<!--"):
        assert tag not in outside
    assert html.count("</script>") == 1 + 1 + 1


def test_what_the_page_says_of_belief():
    said = render_page(explained_page(explained()))
    assert "the answer hangs on them" in said
    doubtful = Faithfulness((0.0, 1.0), (0.9, 0.2), (0.9, 0.2), 0.0, -0.1, 0.1, 20, "the mask token")
    found = words()
    changed = Attribution(
        **{**{name: getattr(found, name) for name in found.__dataclass_fields__}, "faithfulness": doubtful}
    )
    assert "do not believe them" in render_page(explained_page(explained(attribution=changed)))
    against = Faithfulness((0.0, 1.0), (0.9, 0.2), (0.6, 0.2), -0.03, -0.05, -0.01, 20, "silence")
    assert "3.0 points higher on average" in against.sentence
    assert "[1.0, 5.0] over 20" in against.sentence, "the interval is of what the sentence says"
    assert "do not believe" in against.sentence
    between = Faithfulness((0.0, 1.0), (0.9, 0.2), (0.6, 0.2), -0.03, -0.05, 0.01, 20, "silence")
    assert "3.0 points higher on average than with others gone ([-1.0, 5.0] over" in between.sentence
    faint = Faithfulness((0.0, 1.0), (0.9, 0.2), (0.9, 0.2), 0.005, 0.001, 0.009, 20, "the mask token")
    assert faint.is_better
    assert not faint.is_shown
    assert "hardly anything" in faint.sentence


def test_a_page_without_labels_and_one_without_attention():
    bare = render_page(explained_page(explained(attribution=None, task="masked-language-modelling")))
    assert "Where attention goes" in bare
    assert "gives no label" in bare
    none = render_page(explained_page(explained(attention=None)))
    assert 'id="attend"' not in none
    assert "What speaks for" in none


@pytest.mark.slow
def test_a_page_of_hundreds_of_tokens_stays_small(tmp_path: Path):
    attention = attention_over(tuple(f"t{n}" for n in range(512)), heads=(12,) * 12)
    path = write_explained_page(explained(attention=attention), tmp_path / "deep" / "page.html")
    assert 4e6 < path.stat().st_size < 10e6
    assert "largest of the 512 weights" in path.read_text(encoding="utf-8")


# --- stills -----------------------------------------------------------------------------------------------------------

NAMED = ("[CLS]", "a", "fine", "<film>", "[SEP]")
PATCHES = ("class token", *(f"row {n // 3 + 1}, column {n % 3 + 1}" for n in range(9)))


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("view", ["matrix", "lines"])
@pytest.mark.parametrize("count", [5, 90])
def test_stills_of_texts(view: str, count: int):
    tokens = NAMED if count == 5 else tuple(f"t{n}" for n in range(count))
    sheet = still(attention_over(tokens), Chosen(1, 0), view)
    shown = texts_of(str(sheet.svg()))
    assert "Attention of layer 2, head 1" in shown
    if count == 5 or view == "lines":
        assert all(shown.count(token) == 2 for token in tokens)
    picture = Image.open(io.BytesIO(sheet.png()))
    assert abs(picture.width - 2 * sheet.width) <= 1
    colours = picture.getcolors(2**24)
    assert colours is not None
    assert len(colours) > 20


def test_cells_of_a_matrix_are_as_deep_as_their_weights():
    attention = attention_over(NAMED)
    sheet = still(attention, Chosen(0, 1), "matrix")
    boxes = [
        float(element.get("fill-opacity") or 1)
        for element in ElementTree.fromstring(str(sheet.svg())).iter("{http://www.w3.org/2000/svg}rect")
        if element.get("fill") == "#0b5cad"
    ]
    weights = attention.layers[0][1]
    expected = np.sqrt(weights / weights.max()).reshape(-1)
    np.testing.assert_allclose(sorted(boxes), sorted(expected[expected > 0.01]), atol=1e-3)


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_stills_over_a_picture(kind: str):
    tokens = PATCHES if kind == "image" else tuple(f"{n} s" for n in range(10))
    attention = attention_over(tokens, grid=(3, 3) if kind == "image" else (1, 10), kind=kind)
    sheet = still(attention, Chosen(1, None), "picture")
    assert "Attention rollout up to layer 2" in texts_of(str(sheet.svg()))
    pixels = np.asarray(Image.open(io.BytesIO(sheet.png())))
    warm = (pixels[..., 0].astype(int) - pixels[..., 2] > 100).mean()
    assert warm > 0.05
    matrix = still(attention, Chosen(1, None), "matrix")
    assert np.asarray(Image.open(io.BytesIO(matrix.png()))).std() > 5


def test_signs_without_a_font_are_told():
    sheet = Sheet(100, 40, "t")
    sheet.text(10, 20, "fine \U0010ff00")
    assert sheet.unwritable() == "\U0010ff00"
    assert Image.open(io.BytesIO(sheet.png())).size == (200, 80)


def test_upright_text_is_painted_where_it_is_drawn():
    sheet = Sheet(60, 100, "t")
    sheet.text(30, 90, "HHHHHH", 12, upright=True)
    dark = np.argwhere(np.asarray(Image.open(io.BytesIO(sheet.png())).convert("L")) < 128)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    assert bottom - top > 2 * (right - left)
    assert 2 * 85 < bottom <= 2 * 90 + 1
    assert left > 2 * 19
    assert right <= 2 * 30 + 1


# --- in a real browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def opened(chromium: Browser, path: Path, **size: int) -> Page:
    page = Page(chromium, **size)
    page.open(f"file://{path}")
    page.wait_for("document.getElementById('stage').childElementCount > 0")
    return page


def choose(page: Page, view: str) -> None:
    page.run(f"document.querySelector('input[value={view}]').click()")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 400])
def test_hostile_tokens_are_shown_as_text(chromium: Browser, tmp_path: Path, width: int):
    page = opened(chromium, write_explained_page(explained(), tmp_path / "page.html"), width=width)
    shown = page.run("[...document.querySelectorAll('#stage .token title')].map((one) => one.textContent)")
    assert shown == [*HOSTILE, *HOSTILE]
    assert page.run("document.querySelectorAll('script').length") == 3
    assert (
        page.run("document.querySelectorAll('#stage script, main b:not(caption b), main i, main u, main s').length")
        == 0
    )
    for view in ("matrix", "heads", "lines"):
        choose(page, view)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.complaints == []


@pytest.mark.slow
def test_pointing_shows_the_exact_weight(chromium: Browser, tmp_path: Path):
    attention = attention_over(NAMED)
    page = opened(
        chromium, write_explained_page(explained(attention=attention, chosen=Chosen(1, 1)), tmp_path / "page.html")
    )
    page.run("document.querySelectorAll('#stage .area')[2].dispatchEvent(new Event('click'))")
    shown = page.run("[...document.querySelectorAll('#stage .figure')].slice(5).map((one) => one.textContent)")
    weights = attention.layers[1][1][2]
    assert shown == [f"{weight:.4f}" if weight >= 0.0001 else shown[n] for n, weight in enumerate(weights)]
    best = int(weights.argmax())
    assert f"“fine” looks most at “{NAMED[best]}”: {weights[best]:.4f}" in page.run(
        "document.getElementById('readout').textContent"
    )
    choose(page, "matrix")
    spot = "(() => { const c = document.querySelector('#stage canvas').getBoundingClientRect(); return [c.left, c.top, c.width, c.height]; })()"
    left, top, wide, high = page.run(spot)
    # The last cell is the last token looking at itself.
    move = f"new PointerEvent('pointermove', {{clientX: {left + wide - 8}, clientY: {top + high - 8}}})"
    page.run(f"document.querySelector('#stage canvas').dispatchEvent({move})")
    assert page.run("document.getElementById('readout').textContent").endswith(f"{attention.layers[1][1][4][4]:.4f}")
    page.run(
        "(() => { const h = document.getElementById('head'); h.value = '3'; h.dispatchEvent(new Event('change')); })()"
    )
    page.run(f"document.querySelector('#stage canvas').dispatchEvent({move})")
    said = page.run("document.getElementById('readout').textContent")
    assert "rollout" in said
    assert said.endswith(f"{attention.rolled[1][4][4]:.4f}")
    assert page.complaints == []


@pytest.mark.slow
def test_a_long_text_is_looked_at_piece_by_piece(chromium: Browser, tmp_path: Path):
    attention = attention_over(tuple(f"t{n}" for n in range(150)), heads=(12,) * 6)
    page = opened(chromium, write_explained_page(explained(attention=attention), tmp_path / "page.html"))
    assert page.run("document.querySelectorAll('#stage .links path').length") <= 500
    choose(page, "matrix")
    page.run(
        "document.querySelector('#stage canvas').dispatchEvent(new MouseEvent('click', {clientX: 500, clientY: document.querySelector('#stage canvas').getBoundingClientRect().top + 300}))"
    )
    assert page.run("document.getElementById('whole').hidden") is False
    page.run("document.getElementById('whole').click()")
    assert page.run("document.getElementById('whole').hidden") is True
    choose(page, "heads")
    assert page.run("document.querySelectorAll('#stage button').length") == 6 * 14
    page.run("document.querySelectorAll('#stage button')[15].click()")
    assert page.run("[document.getElementById('layer').value, document.getElementById('head').value]") == ["1", "1"]
    assert page.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_weights_over_a_picture(chromium: Browser, tmp_path: Path, kind: str):
    if kind == "image":
        backbone = tiny_image_backbone("vit-micro")
        task: object = ImageClassification(LABELS, image_transform_of(backbone.processor))
        example = Example("0", {"image": tiny_pictures(1)[0]["image"]})
        attention = attention_over(PATCHES, grid=(3, 3), kind=kind)
    else:
        task, backbone = tiny_sound_task("sound")
        example = Example("0", {"audio": tiny_clips(2)[1]["audio"]})
        attention = attention_over(tuple(f"{n} s" for n in range(10)), grid=(1, 10), kind=kind)
    model, _ = task.build(backbone, seed=0)  # type: ignore[attr-defined]
    found = explain_example(task, model.eval(), example, CPU, orders=2)  # type: ignore[arg-type]
    page = opened(
        chromium,
        write_explained_page(
            explained(texts=(), attribution=found, attention=attention, chosen=Chosen(0, 0)),
            tmp_path / "page.html",
        ),
    )
    left, top, wide, high = page.run(
        "(() => { const c = document.querySelector('#stage canvas').getBoundingClientRect(); return [c.left, c.top, c.width, c.height]; })()"
    )
    page.run(
        f"document.querySelector('#stage canvas').dispatchEvent(new MouseEvent('click', {{clientX: {left + 5}, clientY: {top + 5}}}))"
    )
    page.run(
        f"document.querySelector('#stage canvas').dispatchEvent(new PointerEvent('pointermove', {{clientX: {left + wide - 5}, clientY: {top + 5}}}))"
    )
    first = attention.reading.prefix
    last = first + attention.reading.grid[1] - 1
    assert page.run("document.getElementById('readout').textContent").endswith(
        f"{attention.layers[0][0][first][last]:.4f}"
    )
    for view in ("heads", "matrix", "picture"):
        choose(page, view)
    assert page.complaints == []
    del high
