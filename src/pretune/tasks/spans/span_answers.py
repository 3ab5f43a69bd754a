"""What answers in a passage are once they are found: joined over windows, recorded, told from none, scored and shown.

A record is a row's answer as JSON has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pretune.answers import AnswerSpan
from pretune.answers.span_search import joined_windows
from pretune.metrics.base import Measured, Metric
from pretune.metrics.texts.question_answering import QuestionAnsweringMetric
from pretune.tasks.base import Task, windows_of
from pretune.tasks.baselines.questions import lexical_baselines
from pretune.tasks.blocks.questions import question_blocks
from pretune.tasks.spans.question_threshold import best_threshold
from pretune.types import Prediction
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["SpanAnswers"]

_FEW_RECORDS = 10


class SpanAnswers(Task):
    """One stretch of a passage, or none: the half of the task that knows no model. ``answers_all``: every question has an answer;
    ``null_threshold``: by how much "no answer" has to be ahead where not.
    """

    columns: ClassVar[tuple[str, ...]] = ("text", "text_pair", "span")
    answer: ClassVar[str] = AnswerSpan.kind
    metric_type: ClassVar[type[Metric]] = QuestionAnsweringMetric
    answers_all: bool
    null_threshold: float

    @property
    def threshold(self) -> float | None:
        """See :func:`pretune.answers.span_search.joined_windows`."""
        return None if self.answers_all else self.null_threshold

    def merge(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The best stretch of all windows of a row, or none."""
        merged = []
        for windows in windows_of(predictions):
            joined = joined_windows([window.detail for window in windows], threshold=self.threshold)
            answer = joined.pop("span")
            merged.append(Prediction(windows[0].id, answer, (), joined))
        return merged

    def truths(self, dataset: Dataset) -> list[Any]:
        """The right answers."""
        return self.cells(dataset)

    def record(self, prediction: Prediction, truth: Any = None) -> dict[str, Any]:
        """Id, answer, its probability, the truth where it is known; where questions may have no answer how far that is ahead, and the best
        stretch whatever was answered.
        """
        detail = prediction.detail
        line = {"id": prediction.id, self.answer: prediction.answer, "probability": detail.get("probability", 0.0)}
        if not self.answers_all and "margin" in detail:
            line |= {"no_answer_margin": detail["margin"], "best": detail["best"]}
        return line if truth is None else {**line, "truth": truth}

    def record_schema(self) -> dict[str, Any]:
        """With the probability, and what is said where questions may have no answer."""
        schema = super().record_schema()
        about = "of the answer among all stretches of the passage"
        schema["properties"]["probability"] = {"type": "number", "minimum": 0, "maximum": 1, "description": about}
        if not self.answers_all:
            told = "how far no answer is ahead of the best stretch, in nats"
            schema["properties"]["no_answer_margin"] = {"type": "number", "description": told}
            schema["properties"]["best"] = {
                **AnswerSpan.schema(),
                "description": "the best stretch, whatever is answered",
            }
        return schema

    def calibrate(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Fit by how much no answer has to be ahead, where questions may have none."""
        if self.answers_all or not records:
            return []
        if not any(not record["truth"] for record in records):
            return ["No validation row is without an answer: when to give none was not fitted, and stays at even odds."]
        self.null_threshold = best_threshold(records)
        return []

    def with_fitted_threshold(self, records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The records with the answers that the best threshold for them gives."""
        if self.answers_all or not records:
            return records
        threshold = best_threshold(records)
        nothing = {"text": "", "start": -1, "end": -1}
        return [
            {**record, self.answer: nothing if record["no_answer_margin"] > threshold else record["best"]}
            for record in records
        ]

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when hardly anything is answered where something is asked."""
        asked = [record for record in records if record["truth"]]
        silent = sum(not record[self.answer]["text"] for record in asked)
        if len(asked) < _FEW_RECORDS or silent < len(asked):
            return []
        return [
            f"None of {counted(len(asked), 'question')} with an answer is given one: the model found nothing. Learn longer (--epochs) or "
            "from a pre-trained backbone."
        ]

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Scores by kind of question, the worst rows with both answers marked in the passage."""
        return question_blocks(records, rows)

    def baselines(self, train: Dataset, rows: Dataset) -> tuple[dict[str, Measured], list[str]]:
        """See :func:`pretune.tasks.baselines.questions.lexical_baselines`."""
        return lexical_baselines(rows, self.truths(rows), self.metric)
