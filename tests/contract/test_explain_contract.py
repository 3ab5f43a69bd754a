"""Every task can be asked why: scores for every part, adding up where they should, and a test of their order."""

from __future__ import annotations

import dataclasses
import json
from statistics import NormalDist

import numpy as np
import pytest
import torch
from cases import TASK_CASES

from pretune.answers import Text
from pretune.engine.devices import inference
from pretune.errors import UsageError
from pretune.explain.aim import EmptyAnswer
from pretune.explain.attributions import explain_example
from pretune.tasks import SpeechRecognition
from pretune.tasks.classes.labelling import Labelling
from pretune.tasks.places.placed import PlacedTask
from pretune.tasks.values.regression import Regression
from tiny import CPU

pytestmark = pytest.mark.slow

LABELLING = [name for name, (kind, _) in TASK_CASES.items() if issubclass(kind, Labelling)]
WRITING = [name for name, (kind, _) in TASK_CASES.items() if issubclass(kind, SpeechRecognition)]
NUMBERS = [name for name, (kind, _) in TASK_CASES.items() if issubclass(kind, Regression)]
PLACED = [name for name, (kind, _) in TASK_CASES.items() if issubclass(kind, PlacedTask)]
REFUSING = [name for name, (kind, _) in TASK_CASES.items() if "explain" in kind.lacks or kind.by_tokens]
"""Of what is written token by token only where it looks is shown (tests/unit/test_written_attention.py)."""
assert {*LABELLING, *WRITING, *NUMBERS, *PLACED, *REFUSING} == {*TASK_CASES}, "a task whose answers nothing explains"


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_explained_in_units_of_its_spread(name: str):
    case = TASK_CASES[name][1]()
    found = explain_example(case.task, case.model, case.examples[0], CPU, orders=3)
    with inference(CPU):
        [prediction] = case.task.predict(case.model, case.task.collate(case.task.encode(case.examples[0])[:1]))
    assert found.answer == found.explained == f"{prediction.answer:.6g}"
    assert found.probability == pytest.approx(NormalDist().cdf(prediction.outputs_C[0]), abs=1e-6)
    assert found.completeness is None or found.completeness.error <= 0.01
    assert found.faithfulness is not None
    assert "place among the training numbers" in found.faithfulness.sentence
    with pytest.raises(UsageError, match="no label to choose"):
        explain_example(case.task, case.model, case.examples[0], CPU, label="9")


@pytest.mark.parametrize("name", PLACED)
def test_a_place_is_explained(name: str):
    case = TASK_CASES[name][1]()
    found = explain_example(case.task, case.model, case.examples[1], CPU, orders=3)
    assert found.explained in case.task.labels
    heat = np.array(found.heat)
    assert np.isfinite(heat).all()
    assert found.method == "integrated gradients" or (heat.max() > 0 and "HiResCAM" in found.method)
    assert found.faithfulness is not None
    assert found.faithfulness.important[0] == pytest.approx(found.probability, abs=1e-5)
    assert "drawn" in found.notes[0]
    assert found.picture.startswith("data:image/jpeg")
    again = explain_example(case.task, case.model, case.examples[1], CPU, label=found.explained, orders=0)
    assert again.probability == pytest.approx(found.probability, abs=1e-6)
    with pytest.raises(UsageError, match="not among those trained on"):
        explain_example(case.task, case.model, case.examples[1], CPU, label="nobody knows it")


@pytest.mark.parametrize("name", REFUSING)
def test_what_is_not_explained_is_refused(name: str):
    case = TASK_CASES[name][1]()
    with pytest.raises(UsageError, match=case.task.name):
        explain_example(case.task, case.model, case.examples[0], CPU)


@pytest.mark.parametrize("name", LABELLING)
def test_an_answer_is_explained(name: str):
    case = TASK_CASES[name][1]()
    task, example = case.task, case.examples[0]
    weights = {key: value.clone() for key, value in case.model.state_dict().items()}
    found = explain_example(task, case.model, example, CPU, orders=3)
    with inference(CPU):
        first = task.encode(example)[0]
        [prediction] = task.predict(case.model, task.collate([first]))
    record = task.record(prediction)
    expected = (task.calibrated([record]) or [record])[0]["probabilities"]
    assert found.answer == prediction.answer
    assert found.explained == max(expected, key=expected.__getitem__)
    assert found.probability == pytest.approx(expected[found.explained], abs=1e-6)
    sums = np.array(found.heat if task.modality == "image" else found.scores)
    assert np.isfinite(sums).all()
    assert sums.size > 0
    if found.completeness is not None:
        assert found.completeness.error <= 0.01
        if task.modality != "image":
            # What no word holds (special tokens) is the same in the blank item, and has no share.
            assert sums.sum() == pytest.approx(found.completeness.total, abs=1e-4)
    assert found.faithfulness is not None
    assert found.faithfulness.important[0] == pytest.approx(found.probability, abs=1e-5)
    assert found.faithfulness.low <= found.faithfulness.area <= found.faithfulness.high
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["method"] == found.method
    assert all(torch.equal(value, weights[key]) for key, value in case.model.state_dict().items())
    again = explain_example(task, case.model, example, CPU, orders=3)
    assert again.to_dict() == found.to_dict()


@pytest.mark.parametrize("name", LABELLING[:1])
def test_another_label_can_be_explained(name: str):
    case = TASK_CASES[name][1]()
    other = explain_example(case.task, case.model, case.examples[0], CPU, label="sport", orders=0)
    assert other.explained == "sport"
    assert other.faithfulness is None
    assert other.to_dict()["faithfulness"] is None


@pytest.mark.parametrize("name", WRITING)
def test_a_transcript_is_explained(name: str):
    case = TASK_CASES[name][1]()
    task, example = case.task, case.examples[0]
    found = explain_example(task, case.model, example, CPU, orders=3)
    batch = task.collate(task.encode(example))
    with inference(CPU):
        [prediction] = task.predict(case.model, batch)
        written = dataclasses.replace(example, target=Text(prediction.answer))
        loss = task.loss(case.model, task.collate(task.encode(written)))
    assert found.answer == found.explained == prediction.answer
    assert found.probability == pytest.approx(float((-loss.total / len(prediction.answer)).exp()), rel=1e-4)
    if found.method == "occlusion":  # samples as codes have no gradients
        assert found.completeness is None
    else:
        assert found.completeness is not None
        assert found.completeness.error <= 0.01
        assert sum(found.scores) == pytest.approx(found.completeness.total, abs=1e-3)
    assert found.faithfulness is not None
    assert found.faithfulness.important[0] == pytest.approx(found.probability, abs=1e-5)
    assert found.to_dict()["measure"] == "log-likelihood of the transcript"
    assert any("geometric mean" in note for note in found.notes)
    with pytest.raises(UsageError, match="gives no label to choose"):
        explain_example(task, case.model, example, CPU, label="sport")


@pytest.mark.parametrize("name", WRITING)
def test_silence_in_place_of_a_transcript_is_said(name: str):
    case = TASK_CASES[name][1]()
    with torch.no_grad():
        case.model.lm_head.weight.zero_()  # type: ignore[union-attr]
        case.model.lm_head.bias[case.task.spelling.blank_id] = 9.0  # type: ignore[union-attr,index]
    with pytest.raises(EmptyAnswer, match="writes nothing"):
        explain_example(case.task, case.model, case.examples[0], CPU)
