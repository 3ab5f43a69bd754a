"""What a report shows of answers in passages: scores by kind of question, the worst rows with both answers marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.answers.span import NOWHERE
from pretune.metrics.texts.question_answering import answer_scores
from pretune.tasks.blocks.classification import Rows

__all__ = ["question_blocks"]

MAX_WORST = 20
_AROUND = 160
_LENGTHS = ((0, 10), (10, 20), (20, 40), (40, None))
_ASKING = ("who", "when", "where", "what", "which", "why", "how many", "how much", "how")


def question_blocks(records: Sequence[Mapping[str, Any]], rows: Rows) -> list[dict[str, Any]]:
    """``rows[i]`` is row i; the questions are read for the table, the passages only where they are shown."""
    scores = [answer_scores(record["span"]["text"], [one["text"] for one in record["truth"]]) for record in records]
    questions = [str(rows[place]["text"]) for place in range(len(records))]
    return [_kinds(records, questions, scores), _worst(records, rows, scores)]


def _kinds(
    records: Sequence[Mapping[str, Any]], questions: Sequence[str], scores: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    kinds: dict[str, list[int]] = {}
    for place, (record, question) in enumerate(zip(records, questions, strict=True)):
        names = ["all questions", "with an answer" if record["truth"] else "without an answer"]
        if record["truth"]:
            names.append(_length_of(len(record["truth"][0]["text"])))
            names += [f"asks {word}" for word in [_asks(question)] if word]
        for name in names:
            kinds.setdefault(name, []).append(place)
    order = ["all questions", "with an answer", "without an answer", *(_length_of(low) for low, _ in _LENGTHS)]
    order += [f"asks {word}" for word in _ASKING]
    cells = []
    for name in (name for name in order if name in kinds):
        places = kinds[name]
        silent = sum(not records[place]["span"]["text"] for place in places)
        shares = [100 * sum(scores[place][side] for place in places) / len(places) for side in (1, 0)]
        cells.append([name, len(places), *(f"{share:.1f} %" for share in shares), silent])
    columns = [
        {"name": name, "kind": "text" if name == "questions" else "number"}
        for name in ("questions", "rows", "F1", "exact match", "given no answer")
    ]
    note = "Lengths are those of the first right answer; F1 is that of the words that answer and truth share."
    return {"type": "table", "title": "Kinds of questions", "note": note, "columns": columns, "rows": cells}


def _length_of(size: int) -> str:
    low, high = next((low, high) for low, high in _LENGTHS if high is None or size < high)
    return f"answer of {low or 1} to {high - 1} characters" if high else f"answer of {low} characters or more"


def _asks(question: str) -> str:
    """The English word of asking that comes first in the question."""
    line = f" {' '.join(question.lower().split())} "
    found = [(line.find(f" {word} "), -len(word), word) for word in _ASKING if f" {word} " in line]
    return min(found)[2] if found else ""


def _worst(records: Sequence[Mapping[str, Any]], rows: Rows, scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The rows with the lowest F1, of equals those that the model is surest of."""
    order = sorted(range(len(records)), key=lambda i: (scores[i][1], -records[i].get("probability", 0.0), i))
    wrong = [place for place in order if scores[place][0] < 1.0]
    shown = [_shown(records[place], rows[place]) for place in wrong[:MAX_WORST]]
    note = f"{len(wrong)} of {len(records)} questions are not answered to the letter; the {len(shown)} with the lowest F1 are shown."
    return {"type": "tagged", "title": "Worst rows", "note": note, "rows": shown}


def _shown(record: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The passage around both answers, with the marks of both sides."""
    passage, said = str(row["text_pair"]), record["span"]
    truth = [
        [one["start"], one["start"] + len(one["text"]), "right answer"]
        for one in record["truth"]
        if one["start"] != NOWHERE
    ]
    answer = [[said["start"], said["end"], "answer"]] if said["text"] else []
    marks = [*truth[:1], *answer]
    low = max(0, min((mark[0] for mark in marks), default=0) - _AROUND)
    high = min(len(passage), max((mark[1] for mark in marks), default=2 * _AROUND) + _AROUND)
    before, after = ("… " if low else ""), (" …" if high < len(passage) else "")

    def moved(found: Sequence[Sequence[Any]]) -> list[list[Any]]:
        shift = len(before) - low
        return [[start + shift, stop + shift, kind] for start, stop, kind in found if low <= start and stop <= high]

    return {
        "id": row["id"], "title": row["text"], "text": f"{before}{passage[low:high]}{after}",
        "truth": moved(truth), "answer": moved(answer),
    }  # fmt: skip
