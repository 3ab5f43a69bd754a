"""Settings check themselves, and a command line brings them back."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.config import CleanSettings, DataSettings, RunSettings, TrainSettings
from pretune.errors import UsageError
from pretune.interface import Outcome, Say, verb
from pretune.interface.flags import parse_flags
from pretune.options import Settings, option, parse_duration


@dataclass(frozen=True, kw_only=True)
class TrySettings(DataSettings, CleanSettings, RunSettings, TrainSettings):
    """Everything a verb may take."""

    verb: ClassVar[str] = "attempt"
    backbone: str = option(help="model to begin with", positional=True)
    seeds: tuple[int, ...] = option((0,), "seeds to run", low=0)


@verb(TrySettings)
def attempt(settings: TrySettings, *, say: Say) -> Outcome:
    """Try."""
    return Outcome(text="done", facts=settings.to_dict())


def test_defaults_are_valid():
    assert TrySettings(backbone="x", data="d").epochs is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"batch_size": 0}, "1 to 1000000"),
        ({"clip": 0.0}, "at least 1e-06"),
        ({"validation_fraction": 0.95}, "0.0 to 0.9"),
        ({"schedule": "linaer"}, 'did you mean "linear"?'),
        ({"clean": ("html", "whitspace")}, 'did you mean "whitespace"?'),
        ({"learning_rate": float("nan")}, "finite"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"batch_size": 3.5}, "takes a whole number"),
        ({"batch_size": True}, "takes a whole number"),
        ({"seeds": (1, -1)}, "at least 0"),
        ({"data": None}, "--data is missing"),
        ({"overwrite": 1}, "takes true or false"),
        ({"data": 5}, "takes text"),
        ({"data": "a\0b"}, "no UTF-8"),
        ({"data": "caf\udce9"}, "no UTF-8"),
        ({"clean": 5}, "takes text"),
        ({"seeds": 1.5}, "takes a whole number"),
        ({"clip": (1, 2)}, "takes one: a number"),
    ],
)
def test_wrong_values_name_the_flag_and_what_is_allowed(changes, word):
    with pytest.raises(UsageError) as caught:
        TrySettings(**{"backbone": "x", "data": "d", **changes})
    assert word in str(caught.value)
    assert "--" + next(iter(changes)).replace("_", "-") in str(caught.value)


def test_of_several_values_that_must_be_given_there_is_one():
    @dataclass(frozen=True, kw_only=True)
    class Many(Settings):
        runs: tuple[str, ...] = option(help="runs", positional=True)

    with pytest.raises(UsageError, match="RUNS is missing"):
        Many(runs=())
    assert Many(runs=["a"]).runs == ("a",)  # type: ignore[arg-type]


def test_whole_number_serves_as_float():
    assert TrySettings(backbone="x", data="d", epochs=3).epochs == 3.0


def test_settings_cannot_be_changed_after_the_check():
    settings = TrySettings(backbone="x", data="d")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.batch_size = 0  # type: ignore[misc]


def test_identity_leaves_out_what_a_resumed_run_may_change():
    first = TrySettings(backbone="x", data="d", overwrite=True, threads=2)
    assert first.identity() == TrySettings(backbone="x", data="d").identity()
    assert first.identity() != TrySettings(backbone="x", data="d", seed=1).identity()


def by_way_of_the_command_line(settings: Settings) -> Settings:
    words = shlex.split(settings.command())
    assert words[:2] == ["pretune", "attempt"]
    return parse_flags(attempt, words[2:])[0]


def test_command_round_trip_of_defaults_is_short():
    settings = TrySettings(backbone="scratch:bert-mini", data="a b.csv")
    assert by_way_of_the_command_line(settings) == settings
    assert "--epochs" not in settings.command()


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@given(
    data=names,
    group=st.none() | names,
    column=st.lists(names, max_size=3).map(tuple),
    clean=st.lists(st.sampled_from(["html", "whitespace", "unicode", "stopwords"]), max_size=3).map(tuple),
    seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=3).map(tuple),
    epochs=st.none() | st.floats(0.001, 100_000),
    learning_rate=st.none() | st.floats(0, 10),
    group_by_length=st.booleans(),
    deduplicate=st.booleans(),
)
def test_command_round_trip_gives_equal_settings(**values):
    settings = TrySettings(backbone="scratch:bert-mini", **values)
    assert by_way_of_the_command_line(settings) == settings


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("500", 500),
        ("500steps", 500),
        ("1epoch", 40),
        ("2epochs", 80),
        ("0.5epoch", 20),
        ("6%", 12),
        ("0", 0),
        ("0.001epoch", 1),
    ],
)
def test_durations(text, steps):
    assert parse_duration(text, flag="--warmup", steps_per_epoch=40, total_steps=200) == steps


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "%", "1e3", "infepochs"])
def test_durations_that_are_none(text):
    with pytest.raises(UsageError, match="--warmup"):
        parse_duration(text, flag="--warmup", steps_per_epoch=40, total_steps=200)
