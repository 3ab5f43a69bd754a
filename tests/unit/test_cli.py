"""The command line over a small verb of our own: words to settings, outcomes and errors to the terminal."""

from __future__ import annotations

import builtins
import dataclasses
import inspect
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import pretune
from clocks import HANG_SECONDS
from pretune import cli
from pretune.config import CleanSettings, DataSettings, RunSettings, TrainSettings
from pretune.errors import CheckFailed, DataError, Interrupted, UsageError
from pretune.estimators import ESTIMATORS
from pretune.interface import VERBS, Outcome, Say, Silent, verb
from pretune.interface.flags import verb_parser
from pretune.interface.synonyms import VERB_WORDS
from pretune.options import option
from pretune.runs.proven import open_model


@dataclass(frozen=True, kw_only=True)
class FakeSettings(DataSettings, CleanSettings, RunSettings, TrainSettings):
    """Settings of the fake verb."""

    verb: ClassVar[str] = "finetune"
    backbone: str = option(help="model to begin with", positional=True, metavar="BACKBONE")
    label_smoothing: float = option(0.0, "share of 100% given to other classes", low=0.0, high=0.5)
    seeds: tuple[int, ...] = option((0,), "seeds to run")


@verb(FakeSettings)
def finetune(settings: FakeSettings, *, say: Say) -> Outcome:
    """Learn to tell classes apart.

    Examples::

        pretune finetune scratch:bert-mini --data news.csv
    """
    say.note(f"reading {settings.data}")
    what = {
        "bad": DataError("news.csv has no rows", "give a file with rows"),
        "check": CheckFailed("accuracy is too low"),
        "term": Interrupted("stopped at step 7, saved", "run the same command to go on", 15),
        "ctrl-c": KeyboardInterrupt(),
        "memory": MemoryError(),
        "torch-memory": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 10 GB"),
        "denied": PermissionError(13, "Permission denied", "/root/x.csv"),
        "deleted": FileNotFoundError(2, "No such file or directory", "runs/a/log.jsonl"),
        "disk": OSError(28, "No space left on device", "/data/x"),
        "defect": ZeroDivisionError("division by zero"),
        "escape": DataError("column \x1b[2J\x9b31m\u202e is odd"),
    }.get(settings.data)
    if what is not None:
        raise what
    if settings.data == "rows":
        return Outcome(text="2 rows", facts={"n": 2}, rows=({"id": str(n), "text": "\x1b[2J"} for n in range(2)))
    return Outcome(
        text=f"done: \x1b[31m{settings.data}", facts=settings.to_dict(), exit_code=1 if settings.data == "fail" else 0
    )


@pytest.fixture(autouse=True)
def fake_verb(monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("pretune.verbs.finetune.story")
    module.finetune = finetune  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pretune.verbs.finetune.story", module)
    for name in cli._ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, cli._ENVIRONMENT[name]))
    with warnings.catch_warnings():
        yield


def run(*words: str) -> int:
    return cli.main(["finetune", *words])


def facts_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_flags_reach_the_settings(capsys: pytest.CaptureFixture[str]):
    facts = facts_of(
        capsys, "scratch:x", "--data", "d.csv", "--epochs", "3", "--learning-rate=1e-3", "--no-group-by-length", "--deduplicate",
        "--clean", "html, whitespace", "--clean", "unicode", "--seeds", "1,2", "--column", "text=a,b", "--column", "label=-1",
    )  # fmt: skip
    assert facts["backbone"] == "scratch:x"
    assert (facts["epochs"], facts["learning_rate"], facts["group_by_length"], facts["deduplicate"]) == (
        3.0,
        1e-3,
        False,
        True,
    )
    assert facts["clean"] == ["html", "whitespace", "unicode"]
    assert (facts["seeds"], facts["column"], facts["batch_size"]) == ([1, 2], ["text=a,b", "label=-1"], 32)


def test_a_positional_may_stand_anywhere_and_values_may_begin_with_a_dash(capsys: pytest.CaptureFixture[str]):
    facts = facts_of(capsys, "--data", "-", "--group", "-1", "scratch:x", "--delimiter", "-x")
    assert (facts["backbone"], facts["data"], facts["group"], facts["delimiter"]) == ("scratch:x", "-", "-1", "-x")


@pytest.mark.parametrize(
    ("words", "problem", "fix"),
    [
        (["x", "--data", "d", "--epoch", "3"], "no option --epoch", 'did you mean "--epochs"?'),
        (["x", "--data", "d", "--quantum"], "no option --quantum", "finetune --help"),
        (["x", "--data", "d", "-z"], "no option -z", "finetune --help"),
        (["x", "y", "--data", "d"], "another argument: 'y'", "--help"),
        (["--data", "d"], "BACKBONE is missing: model to begin with", "--help"),
        (["x"], "--data is missing: file, folder", "--help"),
        (["x", "--data"], "expected one argument", "--help"),
        (["x", "--data", "d", "--epochs", "--seed", "3"], "--epochs: expected one argument", "--help"),
        (["x", "--data", "d", "--epochs", "three"], "--epochs is 'three'", "a number"),
        (["x", "--data", "d", "--seed", "1.5"], "--seed is '1.5'", "a whole number"),
        (["x", "--data", "d", "--seeds", "1,x"], "--seeds is 'x'", "a whole number"),
        (["x", "--data", "d", "--schedule", "liner"], "--schedule is 'liner'", 'did you mean "linear"?'),
        (["x", "--data", "d", "--clean", "html,,"], "--clean is ''", "allowed"),
        (["x", "--data", "d", "--batch-size", "0"], "--batch-size is 0", "1 to 1000000"),
        (["x", "--data", "d", "--epochs", "nan"], "--epochs is nan", "finite"),
        (["x", "--data", "d", "--deduplicate=5"], "--deduplicate", "--help"),
    ],
)
def test_wrong_use_is_told_in_a_few_lines(capsys: pytest.CaptureFixture[str], words: list[str], problem: str, fix: str):
    assert run(*words) == 2
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert shown.out == ""
    assert lines[0].startswith("error: ")
    assert problem in lines[0]
    assert fix in "\n".join(lines[1:])
    assert len(lines) <= 3


def test_names_of_other_tools_are_understood(capsys: pytest.CaptureFixture[str]):
    facts = facts_of(
        capsys, "scratch:x", "--data=d.csv", "--lr", "3e-5", "--num_train_epochs=4", "--per-device-train-batch-size", "8",
        "--max-grad-norm", "2", "--output-dir", "runs/a", "--warmup-steps", "50", "--no_group_by_length",
    )  # fmt: skip
    assert (facts["learning_rate"], facts["epochs"], facts["batch_size"]) == (3e-5, 4.0, 8)
    assert (facts["clip"], facts["out"], facts["warmup"]) == (2.0, "runs/a", "50")
    assert facts["group_by_length"] is False
    assert run("scratch:x", "--data", "d.csv", "--num_epoch_s", "3") == 2
    assert "no option --num_epoch_s" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "verb"), sorted(VERB_WORDS.items()))
def test_verbs_of_other_tools_are_guessed(word: str, verb: str, capsys: pytest.CaptureFixture[str]):
    assert word not in {entry.name for entry in VERBS}
    assert cli.main([word, "x"]) == 2
    assert f'did you mean "{verb}"?' in capsys.readouterr().err


def test_unknown_verb(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["finetun", "--data", "x"]) == 2
    assert 'did you mean "finetune"?' in capsys.readouterr().err
    assert cli.main(["--verbose"]) == 2
    assert "no option '--verbose'" in capsys.readouterr().err


def test_overview_names_every_verb_with_its_summary(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--help"]) == 0
    page = capsys.readouterr().out
    for entry in VERBS:
        assert f" {entry.name} {entry.summary}" in " ".join(page.split())
    assert max(map(len, page.splitlines())) <= 80
    assert cli.main([]) == 2
    assert capsys.readouterr().out == page


def test_version(capsys: pytest.CaptureFixture[str]):
    for word in ("--version", "-V"):
        assert cli.main([word]) == 0
        assert capsys.readouterr().out == f"pretune {pretune.__version__}\n"


def test_help_of_a_verb_groups_options_and_ends_with_examples(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        run("--help")
    assert left.value.code == 0
    page = capsys.readouterr().out
    titles = re.findall(r"^(\w[\w ]*):$", page, flags=re.MULTILINE)
    assert titles == ["finetune", "learning", "output", "cleaning", "data", "every verb", "Examples"]
    assert page.rstrip().endswith("pretune finetune scratch:bert-mini --data news.csv")
    flat = " ".join(page.split())
    assert "share of 100% given to other classes (0.0 to 0.5; default: 0.0)" in flat
    assert "(one of linear, cosine, constant, plateau; default: linear)" in flat
    assert "--group-by-length, --no-group-by-length" in flat
    assert "usage: pretune finetune" in flat


def test_every_field_has_a_flag_and_help(capsys: pytest.CaptureFixture[str]):
    page = verb_parser(finetune).format_help()
    for spec in dataclasses.fields(FakeSettings):
        shown = "BACKBONE" if spec.name == "backbone" else "--" + spec.name.replace("_", "-")
        assert re.search(rf"^  {shown}\b", page, flags=re.MULTILINE), spec.name


@pytest.mark.parametrize(
    ("data", "code", "first", "second"),
    [
        ("bad", 2, "error: news.csv has no rows", "  give a file with rows"),
        ("check", 1, "error: accuracy is too low", ""),
        ("term", 143, "stopped: stopped at step 7, saved", "  run the same command to go on"),
        ("ctrl-c", 130, "stopped: stopped by Ctrl-C", ""),
        ("memory", 1, "error: there is not enough memory", "--max-tokens"),
        ("torch-memory", 1, "error: there is not enough memory", "--max-tokens"),
        ("denied", 2, "error: no permission: /root/x.csv", "choose a place"),
        (
            "deleted",
            1,
            "error: runs/a/log.jsonl is gone: it was moved or deleted while pretune worked",
            "run the command again",
        ),
        ("disk", 1, "error: no space left on the disk: /data/x", "free some space"),
    ],
)
def test_failures_are_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str], data: str, code: int, first: str, second: str
):
    assert run("x", "--data", data, "--quiet") == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == first
    assert second in "".join(lines[1:])
    assert len(lines) <= 3

    assert run("x", "--data", data, "--json", "--quiet") == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["exit_code"] == code
    assert shown.err == ""


def test_a_defect_leaves_its_traceback_in_a_file(capsys: pytest.CaptureFixture[str]):
    assert run("x", "--data", "defect") == 1
    shown = capsys.readouterr().err
    assert "defect in pretune" in shown
    assert "Traceback" not in shown
    found = re.search(r"the traceback is in (\S+):", shown)
    assert found is not None
    log = Path(found[1])
    assert "ZeroDivisionError: division by zero" in log.read_text()
    log.unlink()


def test_control_characters_reach_no_terminal(capsys: pytest.CaptureFixture[str]):
    assert run("x", "--data", "escape") == 2
    assert run("x", "--data", "fine") == 0
    assert run("x", "--data", "a\x9b\u202e\x1b[2J\x7f", "--json") == 0
    shown = capsys.readouterr()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown.out + shown.err)
    assert json.loads(shown.out.splitlines()[-1])["data"] == "a\x9b\u202e\x1b[2J\x7f"


def test_a_failed_check_is_an_exit_code(capsys: pytest.CaptureFixture[str]):
    assert run("x", "--data", "fail") == 1
    assert run("x", "--data", "fail", "--json") == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exit_code"] == 1


def test_streamed_rows_have_standard_output_for_themselves(capsys: pytest.CaptureFixture[str]):
    assert run("x", "--data", "rows", "--quiet") == 0
    shown = capsys.readouterr()
    assert [json.loads(line) for line in shown.out.splitlines()] == [
        {"id": "0", "text": "\x1b[2J"},
        {"id": "1", "text": "\x1b[2J"},
    ]
    assert shown.err == "2 rows\n"


def test_quiet_hides_notes(capsys: pytest.CaptureFixture[str]):
    run("x", "--data", "d")
    assert capsys.readouterr().err == "reading d\n"
    run("x", "--data", "d", "--quiet")
    assert capsys.readouterr().err == ""


def test_plain_progress_tells_share_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 5.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(clock))
    bar = cli.TerminalSay().progress(100, "training")
    for _ in range(4):
        bar.update(10, "loss 0.50")
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "training: 20/100 (20%), 44 s left loss 0.50",
        "training: 40/100 (40%), 33 s left loss 0.50",
    ]


def test_no_time_left_is_told_from_the_first_percent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    clock = iter([0.0, 30.0, 41.0])
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(clock))
    bar = cli.TerminalSay().progress(400, "measuring")
    bar.update(1)
    bar.update(7)
    assert capsys.readouterr().err.splitlines() == ["measuring: 1/400 (0%)", "measuring: 8/400 (2%), 33 min left"]


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("NO_COLOR", "1")
    say = cli.TerminalSay()
    bar = say.progress(4, "training")
    bar.update(3, "loss 0.50")
    say.warn("odd rows")
    bar.update(1)
    bar.close()
    assert "training" in screen.getvalue()
    assert "\nwarning: odd rows" in screen.getvalue().replace("\r", "\n")


def test_python_call_takes_the_same_names():
    heard = Silent()
    outcome = finetune("scratch:x", data=Path("d.csv"), epochs=3, clean=["html"], say=heard)
    assert (outcome.facts["data"], outcome.facts["epochs"], outcome.facts["clean"]) == ("d.csv", 3.0, ["html"])
    assert heard.notes == ["reading d.csv"]
    assert finetune.settings_class is FakeSettings


@pytest.mark.parametrize(
    ("positional", "options", "word"),
    [
        (("x",), {"data": "d", "epoch": 3}, 'did you mean "epochs"?'),
        (("x", "y"), {"data": "d"}, "2 positional"),
        (("x",), {"data": "d", "backbone": "y"}, "backbone twice"),
        (("x",), {}, "--data is missing"),
        ((), {"data": "d"}, "needs backbone"),
        (("x",), {"data": "d", "batch_size": 0}, "--batch-size is 0"),
    ],
)
def test_python_call_with_a_mistake(positional: tuple, options: dict, word: str):
    with pytest.raises(UsageError) as caught:
        finetune(*positional, **options)
    assert word in str(caught.value)


def test_signature_and_docstring_of_the_python_call():
    signature = inspect.signature(finetune)
    assert next(iter(signature.parameters)) == "backbone"
    assert signature.parameters["epochs"].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.parameters["backbone"].default is inspect.Parameter.empty
    assert signature.parameters["batch_size"].default == 32
    assert set(signature.parameters) == {spec.name for spec in dataclasses.fields(FakeSettings)} | {"say", "listeners"}
    assert "batch_size: rows per optimizer update" in (finetune.__doc__ or "")


def test_a_last_positional_that_takes_several():
    @dataclass(frozen=True, kw_only=True)
    class ReportSettings(RunSettings):
        """Several runs."""

        verb: ClassVar[str] = "report"
        runs: tuple[str, ...] = option(help="runs", positional=True)

    def report(settings: ReportSettings, /, *, say: Say) -> Outcome:
        """Report."""
        return Outcome(text="", facts=settings.to_dict())

    # value_type reads annotations by name: a class made inside a function needs its names at hand
    ReportSettings.__annotations__["runs"] = tuple[str, ...]
    call = verb(ReportSettings)(report)
    assert call("a", Path("b"), overwrite=True).facts["runs"] == ["a", "b"]
    assert call(["a", "b"]).facts["runs"] == ["a", "b"]
    assert call("a").facts["runs"] == ["a"]


def test_verbs_are_attributes_of_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(vars(pretune), "finetune", raising=False)
    assert pretune.finetune is finetune
    vars(pretune).pop("finetune")
    assert set(pretune.__all__) == {entry.name for entry in VERBS} - {"list"} | {
        *(kind.__name__ for kind in ESTIMATORS),
        "__version__",
        "open_model",
        "load",
        "PretuneError",
        "PretuneWarning",
    }
    assert pretune.open_model is open_model
    assert {*pretune.__all__, "list"} <= set(dir(pretune))
    assert not set(pretune.__all__) & vars(builtins).keys(), "a star import shadows nothing"
    assert callable(pretune.list)
    with pytest.raises(AttributeError, match="bake"):
        pretune.bake  # type: ignore[attr-defined]  # noqa: B018


def test_a_reader_that_leaves_is_no_error(tmp_path: Path):
    script = tmp_path / "flood.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, types
            from pretune import cli
            from pretune.interface import Outcome
            cli._dispatch = lambda words: cli._print_outcome(Outcome(text="", rows=({"n": n} for n in range(10**6))), as_json=False)
            sys.exit(cli.main(["x"]))
            """
        )
    )
    flood = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert flood.stdout is not None
    assert flood.stderr is not None
    assert json.loads(flood.stdout.readline()) == {"n": 0}
    flood.stdout.close()
    said = flood.stderr.read()
    flood.stderr.close()
    assert (flood.wait(timeout=HANG_SECONDS), said) == (141, b"")
