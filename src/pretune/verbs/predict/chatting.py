"""A conversation in the terminal: each line is a turn, an empty one begins anew; what was said is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError, UsageError
from pretune.interface.outcome import Outcome, Say
from pretune.wording import counted

if TYPE_CHECKING:
    from pretune.data.reading import Reading
    from pretune.runs.proven import Proven

__all__ = ["hold_conversation"]

_NOTHING = "(nothing: ask again, or in other words)"


def hold_conversation(
    lines: Iterable[str], proven: Proven, reading: Reading, say: Say, *, system: str | None = None
) -> Outcome:
    """Answer ``lines`` one after the other, each told with ``say.event`` as soon as it is written.

    Raises :class:`UsageError` for a task that answers each row by itself.
    """
    from pretune.tasks.predicting import example_of, predict_items

    task = proven.task
    if not task.holds_turns:
        raise UsageError(f"--chat: {task.name} answers each row by itself", "leave --chat out, or take a run of --task conversation")  # fmt: skip
    begun: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
    turns, asked, answered = list(begun), 0, 0
    for line in lines:
        said = line.strip()
        if not said:
            turns = list(begun)
            continue
        asked += 1
        turns.append({"role": "user", "content": said})
        row: dict[str, Any] = reading.cleaned({"id": str(asked), "text": said, "turns": turns})
        try:
            (prediction,) = predict_items(task, proven.model, task.encode(example_of(row, row["id"])), proven.device)
        except DataError as error:
            say.warn(f"{error.problem}: {error.fix}")
            turns.pop()
            continue
        record = task.record(prediction)
        answer = str(record[task.answer])
        answered += 1
        say.event(answer or _NOTHING, record)
        if answer.strip():
            turns.append({"role": "assistant", "content": answer})
        else:
            turns.pop()
    return Outcome(text=f"{counted(answered, 'answer')} to {counted(asked, 'turn')}", facts={"turns": asked, "answers": answered})  # fmt: skip
