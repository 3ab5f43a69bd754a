"""Help in Chinese: the catalogue is complete, no text lost what must stand in it, pages fit a terminal, and who asks for it gets it."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import gettext
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT
from pretune import cli
from pretune.catalogue import catalogue, help_texts
from pretune.errors import UsageError
from pretune.interface import VERBS
from pretune.interface import language as language_module
from pretune.interface.declare import load_verb
from pretune.interface.flags import parse_flags, verb_parser
from pretune.interface.language import CATALOGUE, asked_language, of_reader, translator
from pretune.interface.overview import overview
from pretune.interface.po import read_po, written_po
from pretune.interface.wrapping import columns_of, wrapped

NAMES = [entry.name for entry in VERBS]
TEXT = CATALOGUE.read_text(encoding="utf-8")
TRANSLATIONS = read_po(TEXT)
CHINESE = translator("zh")
KEPT = re.compile(
    r"""--[a-z][a-z-]*              # options
      | \{\w+\} | \$\w+             # what is filled in
      | \d+(?:[.,]\d+)*             # numbers
      | [\w.-]+(?:=|://|:)[\w<]+    # values: label=NAME, scratch:bert-mini, s3://
      | \b[\w-]*[a-z]_\w+           # names in code
      | \b[A-Z]\w*[A-Z]             # DATA, CSV, SimCSE, GPU of GPUs
      | \b[\w-]+\.(?:jsonl?|html|csv|tsv|py|onnx)\b
    """,
    re.VERBOSE,
)
"""What is no English and stands in both languages alike."""
SWITCH = "Help in Chinese (中文): PRETUNE_LANGUAGE=zh"
"""Each language tells how to read the other."""


def test_every_text_of_help_has_its_chinese_and_none_is_left_over() -> None:
    texts = help_texts()
    missing = [text for text in texts if not TRANSLATIONS.get(text)]
    gone = [text for text in TRANSLATIONS if text not in texts]
    told = "\n  ".join(["", *(f"no Chinese yet: {text}" for text in missing), *(f"gone: {text}" for text in gone)])
    assert not missing, f"{told}\nrun `python -m pretune.catalogue`, and translate what is empty in {CATALOGUE.name}"
    assert catalogue(TEXT) == TEXT, f"{told}\nrun `python -m pretune.catalogue`: it writes {CATALOGUE.name} anew"


def test_options_values_and_numbers_stand_in_the_chinese_too() -> None:
    lost = {
        told: [*missing.elements()]
        for text, told in TRANSLATIONS.items()
        if text != SWITCH and (missing := Counter(KEPT.findall(text)) - Counter(KEPT.findall(told)))
    }
    assert lost == {}


def test_chinese_is_set_as_chinese_is() -> None:
    touching = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9`]|[A-Za-z0-9`][\u4e00-\u9fff]")
    latin = re.compile(r"[\u4e00-\u9fff][,;:?!](?!$)|[，。；：、（）] | [，。；：、（）]")
    assert [told for told in TRANSLATIONS.values() if touching.search(told)] == [], "a blank is missing"
    assert [told for told in TRANSLATIONS.values() if latin.search(told)] == [], "punctuation of another script"


@pytest.mark.parametrize("name", NAMES)
def test_choices_that_are_explained_stand_in_the_chinese_too(name: str) -> None:
    for spec in dataclasses.fields(load_verb(name).settings_class):
        text = spec.metadata["help"]
        for word in spec.metadata["choices"]:
            if re.search(rf"(?<![\w-]){re.escape(word)}(?=:| \()", text):
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", CHINESE(text)), f"{spec.name}: {word}"


@pytest.mark.parametrize("columns", ["200", "50"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_the_terminal(name: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for is_short in (True, False):
        page = verb_parser(load_verb(name), is_short=is_short, translate=CHINESE).format_help()
        code = re.compile(r"    |  -|用法")  # commands, options and usage are as long as they are in English
        lines = page.splitlines() if columns == "200" else [one for one in page.splitlines() if not code.match(one)]
        assert max(map(columns_of, lines)) <= min(80, int(columns))
        assert page.startswith(f"用法: pretune {name}")
        assert not any(re.match(r"\s*[，。；：、）]", line) for line in lines), "no line begins with what closes"
    assert max(map(columns_of, overview(CHINESE).splitlines())) <= 80


def words(text: object) -> set[str]:
    return set(re.findall(r"[A-Za-z]{2,}", str(text)))


@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_a_page_goes_around_the_catalogue(name: str) -> None:
    function = load_verb(name)

    def masked(text: str) -> str:
        return "译" + "".join(re.findall(r"\{\w+\}", text))

    code = {"pretune", "options", "help", "json", "quiet", "no"}
    code |= {word for line in function.story.splitlines() if line.startswith("    ") for word in words(line)}
    for spec in dataclasses.fields(function.settings_class):
        meta = spec.metadata
        code |= words((name, spec.name, meta["metavar"] or spec.name.upper(), meta["choices"], spec.default))
    page = verb_parser(function, translate=masked).format_help()
    assert words(page) - code - {"NUMBER", "WORD", "pretune"} == set()


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LC_MESSAGES": "zh_TW.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LC_ALL": "zh_CN.GB18030", "LANG": "C"}, "zh"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh"),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "de:zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en_GB:zh"}, "en"),
        ({"LANG": "C.UTF-8", "LANGUAGE": "zh"}, "zh"),
        ({"LC_ALL": "C", "LANGUAGE": "zh"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "PRETUNE_LANGUAGE": "en"}, "en"),
        ({"LC_ALL": "C", "PRETUNE_LANGUAGE": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "PRETUNE_LANGUAGE": ""}, "zh"),
        ({"PRETUNE_LANGUAGE": "zh-Hans"}, "zh"),
    ],
)
def test_the_environment_is_asked_in_the_order_of_gettext(environment: dict[str, str], language: str) -> None:
    assert asked_language(environment) == language


def test_a_language_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        asked_language({"PRETUNE_LANGUAGE": "fr", "LANG": "zh_CN.UTF-8"})
    assert caught.value.problem == "PRETUNE_LANGUAGE is 'fr'"
    assert caught.value.fix == "allowed: en, zh"


def shown(arguments: list[str], **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pretune", *arguments],
        capture_output=True, encoding="utf-8", env={**os.environ, **environment}, check=True,
    )  # fmt: skip
    return done.stdout


def test_who_asks_for_chinese_gets_it_where_the_terminal_has_its_letters() -> None:
    assert shown(["--help"], PRETUNE_LANGUAGE="", LANG="zh_CN.UTF-8", PYTHONIOENCODING="utf-8").startswith(
        "pretune：从原始数据到一个小而可信的模型\n\n用法: pretune VERB"
    )
    page = shown(["report", "-h"], PRETUNE_LANGUAGE="zh", PYTHONIOENCODING="utf-8")
    assert "--out FILE  要写的页面；默认：RUN/report.html\n" in re.sub(r" {3,}", "  ", page)
    assert shown(["report", "-h"], PRETUNE_LANGUAGE="zh", PYTHONIOENCODING="ascii").startswith("usage: pretune report")


@pytest.mark.parametrize("arguments", [["finetune", "--help", "--json"], ["--help", "--json"]])
def test_what_programs_read_stays_english(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = []
    for language in ("en", "zh"):
        monkeypatch.setenv("PRETUNE_LANGUAGE", language)
        with contextlib.suppress(SystemExit):
            cli.main(arguments)
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert pages[0].startswith("{")


def test_the_catalogue_is_read_for_pages_in_chinese_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(language_module, "CATALOGUE", tmp_path / "not there")
    translator.cache_clear()
    monkeypatch.setenv("PRETUNE_LANGUAGE", "zh")
    settings, _ = parse_flags(load_verb("report"), ["runs/news"])
    assert settings.verb == "report"
    with pytest.raises(FileNotFoundError):
        of_reader()
    monkeypatch.setenv("PRETUNE_LANGUAGE", "en")
    assert of_reader()("required") == "required"


def test_the_catalogue_is_installed_with_the_package() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["pretune"]
    inside = CATALOGUE.relative_to(ROOT / "src" / "pretune").as_posix()
    assert any(fnmatch.fnmatch(inside, pattern) for pattern in data)


@pytest.mark.skipif(shutil.which("msgfmt") is None, reason="gettext's tools are not installed")
def test_gettext_reads_the_same(tmp_path: Path) -> None:
    subprocess.run(["msgfmt", "--check-format", "-o", tmp_path / "zh.mo", CATALOGUE], check=True)
    with open(tmp_path / "zh.mo", "rb") as file:
        read = gettext.GNUTranslations(file)
    assert {text: read.gettext(text) for text in TRANSLATIONS} == TRANSLATIONS


def test_a_catalogue_is_read_as_it_was_written_or_as_an_editor_breaks_it() -> None:
    entries = {'a "b" \\t %': "甲“乙”\n", "c": "", "d\nmsgid": "丁"}
    assert read_po(written_po(entries, dict.fromkeys(entries, "pretune"))) == entries
    assert read_po('# x\nmsgid ""\n"two "\n"lines"\nmsgstr ""\n"两"\n"行"\n\n#~ msgid "old"\n#~ msgstr "旧"\n') == {
        "two lines": "两行"
    }


def test_new_texts_come_in_empty_and_gone_ones_leave() -> None:
    texts = list(help_texts())
    present = {text: TRANSLATIONS[text] for text in texts[1:]} | {"gone": "没有了"}
    told = read_po(catalogue(written_po(present, dict.fromkeys(present, ""))))
    assert told == {texts[0]: "", **{text: TRANSLATIONS[text] for text in texts[1:]}}


def test_lines_break_between_chinese_letters_but_not_around_punctuation() -> None:
    assert wrapped("学习率的峰值；默认：由 AdamW 决定", 12) == ["学习率的峰", "值；默认：由", "AdamW 决定"]
    assert wrapped("见（--adapt head）的说明", 12, first="- ", then="  ") == [
        "- 见",
        "  （--adapt",
        "  head）的说",
        "  明",
    ]
    assert wrapped("路径（a/long/place）。", 10) == ["路径", "（a/long/p", "lace）。"]
    text = "（一）学而时习之，不亦说乎？scratch:bert-mini（很小）。" * 3
    for columns in range(8, 60):
        lines = wrapped(text, columns)
        assert "".join(lines) == text
        assert max(map(columns_of, lines)) <= columns
        if columns >= 26:
            assert not any(line[0] in "，。？）" or line[-1] == "（" for line in lines)
    assert columns_of("e\u0301中a") == 1 + 2 + 1
