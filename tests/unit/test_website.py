"""The site: every page is there, in the menu, and no link leads nowhere; reference and messages say what the code says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from website.messages import messages_in, messages_page
from website.pages import PAGES, ROOT, assemble, finished, language_of
from website.reference import FOLDERS, verb_page
from website.twins import TWINS

from pretune.interface.language import translator
from pretune.interface.story import VERBS


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("site") / "pages"
    assemble(into)
    return into


def test_every_page_is_in_the_menu_and_every_link_leads_to_one(pages: Path) -> None:
    held = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    menu = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(menu) == sorted(held)
    for name in held:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", (pages / name).read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)|src=\"([^\"]+)\"", text):
            target = "".join(target)
            assert "://" in target or (pages / name).parent.joinpath(target).exists(), f"{name}: {target}"


def test_pages_in_chinese_lead_to_pages_in_chinese(pages: Path) -> None:
    twins = {PAGES[english]: PAGES[chinese] for english, chinese in TWINS.items()}
    for english, chinese in twins.items():
        text = (pages / chinese).read_text(encoding="utf-8")
        led = {target for target in re.findall(r"\]\(([\w./-]+\.md)", text) if target in twins}
        assert led <= {english}, f"{chinese}: only a link to its own page may lead to English"
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    (told,) = (part["中文"] for part in menu if "中文" in part)
    assert sorted(page for part in told for page in part.values() if isinstance(page, str)) == sorted(twins.values())


def test_a_verb_has_its_story_its_examples_and_all_its_options() -> None:
    for entry in VERBS:
        assert verb_page(entry.name).startswith(f"# pretune {entry.name}\n")
    page = verb_page("finetune")
    assert "```bash\npretune finetune scratch:bert-mini --data news.csv" in page
    assert re.search(r"\| `--schedule` \| `linear`, `cosine`, `constant`, `plateau` \| `linear` \|", page)
    assert re.search(r"\| `--epochs` \| number, at least 0.001, at most 100000 \|  \|", page)


def test_the_menu_has_the_verbs_by_chapter_in_both_languages() -> None:
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    (chinese,) = (part["中文"] for part in menu if "中文" in part)
    for language, title, parts in (("en", "Reference", menu), ("zh", "选项", chinese)):
        (chapters,) = (part[title] for part in parts if title in part)
        told = {
            (chapter, *entry.popitem()) for part in chapters for chapter, entries in part.items() for entry in entries
        }
        assert told == {
            (translator(language)(entry.chapter), entry.name, f"{FOLDERS[language]}/{entry.name}.md") for entry in VERBS
        }


@pytest.mark.parametrize("name", [entry.name for entry in VERBS])
def test_a_page_in_chinese_has_the_same_options_values_and_commands(name: str) -> None:
    pages = [verb_page(name, language) for language in ("en", "zh")]
    rows = [[row.split(" | ") for row in re.findall(r"^\| (`.*)$", page, flags=re.MULTILINE)] for page in pages]
    assert len(rows[0]) == len(rows[1]) > 0
    for mine, theirs in zip(*rows, strict=True):
        for one, other in zip(mine[:3], theirs[:3], strict=True):
            assert re.findall(r"`[^`]+`|\d[\d.]*", one) == re.findall(r"`[^`]+`|\d[\d.]*", other)
        assert not re.search(r"[a-z]", re.sub(r"`[^`]+`|\b1e-\d+", "", theirs[1])), "a word that is not translated"
        assert not theirs[3].strip("| ") or re.search(r"[\u4e00-\u9fff]", theirs[3])
    code = [re.findall(r"```bash.*?```|^    [^\n]*$", page, flags=re.MULTILINE | re.DOTALL) for page in pages]
    assert code[0] == code[1] != []
    assert "From Python" not in pages[1]


def test_each_page_says_its_language() -> None:
    assert [language_of(page) for page in ("reference/run.md", "reference-zh/run.md", "zh.md", "tour-zh.md")] == [
        "en", "zh-Hans", "zh-Hans", "zh-Hans",
    ]  # fmt: skip
    assert language_of("glossary.md") == "en"


def test_messages_are_those_of_the_code() -> None:
    found = messages_in(ROOT / "src" / "pretune")
    assert len(found) > 400
    assert len({(one.kind, one.problem, one.remedy) for one in found}) == len(found)
    assert any("there is no role" in one.problem for one in found)
    shown = messages_page(ROOT / "src" / "pretune")
    assert "## UsageError" in shown
    assert "there are no validation rows to choose the best model by" in shown


def test_a_built_page_says_its_language_and_keeps_options_whole() -> None:
    html = '<html lang="en" class="x"><p><code>pretune VERB --help --json</code> <code>--a-b</code><pre><code><span>x --y</span></code></pre>'
    assert finished(html, "zh-Hans") == (
        '<html lang="zh-Hans" class="x"><p><code>pretune VERB <span class="option">--help</span> <span class="option">--json</span></code> '
        '<code><span class="option">--a-b</span></code><pre><code><span>x --y</span></code></pre>'
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (make site)")
def test_the_site_is_built_without_a_warning(pages: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    settings |= {"docs_dir": str(pages), "site_dir": str(tmp_path / "site")}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(tmp_path / "mkdocs.yml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=\"https?://fonts", index), "nothing is fetched"
    assert "<td><strong>reads</strong></td>" in index, "a table that is folded up is one"
