"""axe-core finds nothing against any kind of page, by day and by night, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from report_samples import make_run, page_of, passport
from test_attention_page import explained

from browser import Browser, Page, browser
from pretune.report.explained.page import write_explained_page
from pretune.report.passport.page import write_passport_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


def report(folder: Path) -> Path:
    (folder / "report.html").write_text(page_of(make_run(folder / "run", "a word")), encoding="utf-8")
    return folder / "report.html"


PAGES: dict[str, Callable[[Path], Path]] = {
    "report": report,
    "passport": lambda folder: write_passport_page(passport("a word"), folder / "passport.html", "rows"),
    "explained": lambda folder: write_explained_page(explained(), folder / "explained.html"),
}


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_has_no_violation(kind: str, chromium: Browser, tmp_path: Path) -> None:
    page, place = Page(chromium), PAGES[kind](tmp_path).as_uri()
    for width, dark in ((1280, False), (390, False), (1280, True)):
        page.look(width, 900, dark=dark)
        page.open(place)
        assert page.violations() == [], f"{width} pixels, dark {dark}"
