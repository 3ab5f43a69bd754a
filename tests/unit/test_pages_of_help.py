"""``-h``, ``--help``, ``--help --json`` and completion: what a terminal, an agent and a shell get of a verb's options."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from typing import Any

import pytest

from pretune import cli
from pretune.interface import VERBS
from pretune.interface.declare import build_settings, is_required, load_verb
from pretune.interface.flags import parse_flags
from pretune.interface.pages import _COMMON, flowed, usage_of
from pretune.options import flag_of, json_value
from pretune.verbs.completion import completion

NAMES = [entry.name for entry in VERBS]


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = ended.code
    assert code == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


@pytest.mark.parametrize("asked", ["-h", "--help"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_80_columns_whatever_the_terminal(
    name: str, asked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    page = printed([name, asked], capsys)
    assert max(map(len, page.splitlines())) <= 80
    assert page.startswith(f"usage: {usage_of(load_verb(name).settings_class)[:60]}")
    assert "%%" not in page


def test_the_first_page_fits_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert max(map(len, printed(["-h"], capsys).splitlines())) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_h_shows_what_must_be_given_and_few_more(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    cls = load_verb(name).settings_class
    page = printed([name, "-h"], capsys)
    shown = [
        spec
        for spec in dataclasses.fields(cls)
        if not spec.metadata.get("positional") and f"\n  {flag_of(spec.name)}" in page
    ]
    assert len(shown) <= 14
    for spec in dataclasses.fields(cls):
        if is_required(spec):
            assert (
                f"\n  {spec.metadata.get('metavar') if spec.metadata.get('positional') else flag_of(spec.name)}" in page
            )
    assert f"pretune {name} --help shows all {len(dataclasses.fields(cls))} options." in page


def test_common_options_are_options_that_there_are() -> None:
    names = {spec.name for name in NAMES for spec in dataclasses.fields(load_verb(name).settings_class)}
    assert names >= _COMMON


def test_what_is_required_stands_without_brackets() -> None:
    assert usage_of(load_verb("finetune").settings_class) == "pretune finetune BACKBONE --data DATA [options]"
    assert usage_of(load_verb("predict").settings_class) == "pretune predict RUN [DATA ...] [options]"
    assert usage_of(load_verb("benchmark").settings_class) == "pretune benchmark RUN ... [options]"


def test_long_commands_go_on_after_a_backslash_and_values_stay_with_their_options() -> None:
    line = "    pretune finetune MODEL_DIR --data 'my rows.tsv' --task text-to-speech --out runs/voice"
    told = flowed(f"Words.\n\n{line}", 53)
    assert told == (
        "Words.\n\n    pretune finetune MODEL_DIR --data 'my rows.tsv' \\\n        --task text-to-speech --out runs/voice"
    )
    assert flowed("    a: {b: c}" + " d" * 40, 50).count("\n") == 0


@pytest.mark.parametrize("name", NAMES)
def test_options_as_json_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = load_verb(name)
    schema = json.loads(printed([name, "--help", "--json"], capsys))
    fields = {spec.name: spec for spec in dataclasses.fields(function.settings_class)}
    assert schema["properties"].keys() == fields.keys()
    assert schema["required"] == [spec.name for spec in fields.values() if is_required(spec)]
    for key, told in schema["properties"].items():
        assert ("flag" in told) != ("position" in told)
        assert is_required(fields[key]) or told["default"] == json_value(fields[key].default)
    assert printed([name, "-h", "--json"], capsys).startswith("{")


def fits(told: dict[str, Any], value: Any) -> bool:
    """Enough of JSON schema to try what the schema of an option says."""
    if "anyOf" in told:
        return any(fits(one, value) for one in told["anyOf"])
    kinds: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "null": type(None),
    }
    if not isinstance(value, kinds[told["type"]]) or (isinstance(value, bool) and told["type"] != "boolean"):
        return False
    if told["type"] == "array":
        return all(fits(told["items"], item) for item in value)
    low, high = told.get("minimum", float("-inf")), told.get("maximum", float("inf"))
    return value in told.get("enum", [value]) and (isinstance(value, (str, bool, type(None))) or low <= value <= high)


def test_the_settings_of_a_run_fit_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    cls = load_verb("finetune").settings_class
    told = json.loads(printed(["finetune", "--help", "--json"], capsys))["properties"]
    settings = build_settings(cls, ["scratch:bert-tiny"], {"data": "d", "epochs": 2, "column": ("text=a",)})
    for key, value in settings.to_dict().items():
        assert fits(told[key], value), key
    for key, wrong in {"epochs": "many", "schedule": "round", "seeds": 0, "overwrite": 1, "column": [1]}.items():
        assert not fits(told[key], wrong), key


def test_the_verbs_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(["--help", "--json"], capsys))
    assert [one["name"] for one in told["verbs"]] == NAMES


def completed(words: list[str], tmp_path: Any) -> list[str]:
    """What bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"{completion('bash').text}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _pretune; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    return found.stdout.split()


def test_bash_completes_verbs_options_values_and_files(tmp_path: Any) -> None:
    (tmp_path / "news.csv").touch()
    assert completed(["pretune", "fi"], tmp_path) == ["finetune"]
    assert completed(["pretune", "finetune", "--learn"], tmp_path) == ["--learning-rate"]
    assert completed(["pretune", "finetune", "--schedule", ""], tmp_path) == ["linear", "cosine", "constant", "plateau"]
    assert completed(["pretune", "finetune", "--data", "ne"], tmp_path) == ["news.csv"]
    assert completed(["pretune", "completion", "z"], tmp_path) == ["zsh"]
    assert set(completed(["pretune", "export", "--"], tmp_path)) >= {
        "--to",
        "--tolerance",
        "--no-overwrite",
        "--json",
        "--help",
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_names_every_verb_and_option(shell: str) -> None:
    script = completion(shell).text
    for name in NAMES:
        assert name in script
    for spec in dataclasses.fields(load_verb("finetune").settings_class):
        if not spec.metadata.get("positional"):
            flag = flag_of(spec.name)
            assert (f"-l {flag[2:]}" if shell == "fish" else flag) in script
    quotes = script.replace("'\\''", "").replace("\\'", "").count("'")
    assert quotes % 2 == 0, "each text is closed"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("set_to", "is_coloured"), [("", True), ("1", False)])
def test_colours_mind_no_color(set_to: str, is_coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", set_to)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    cli.TerminalSay().warn("odd \x1b[31mrows")
    assert cli.main(["bake"]) == 2
    assert ("\x1b[33mwarning:\x1b[0m odd" in screen.getvalue()) is is_coloured
    assert ("\x1b[31merror:\x1b[0m there" in screen.getvalue()) is is_coloured
    assert "\x1b[31mrows" not in screen.getvalue()


def test_what_is_asked_for_is_shown_even_where_something_is_missing() -> None:
    with pytest.raises(SystemExit) as ended:
        parse_flags(load_verb("finetune"), ["--help"])
    assert ended.value.code == 0
