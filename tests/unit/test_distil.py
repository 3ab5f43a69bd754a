"""What a student learns from a teacher: each loss against its formula written out, and what is kept against what is said anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import encoder_layers, plan_adaptation
from pretune.backbones.cpu.fast import make_fast
from pretune.backbones.states.inner_states import Listener
from pretune.errors import ModelError
from pretune.modalities.image.transform import image_transform_of
from pretune.objectives.distilling.distil import Distil, MatchedStudent
from pretune.objectives.distilling.inner_matching import hidden_distance, layer_map, relation_distance, relation_heads
from pretune.objectives.distilling.matched_student import ready
from pretune.objectives.supervised import learned_item
from pretune.tasks import ImageClassification, TextClassification
from pretune.tasks import teacher as teaching_rows
from pretune.tasks.predicting import predict_rows
from pretune.tasks.rows.audio import FrameMask
from pretune.tasks.soft_losses import softened_divergence, softened_divergence_of_several
from pretune.tasks.teacher import CachedTeaching, JoinedRows, LiveTeaching, Teacher, cache_teaching
from tiny import (
    CPU,
    LABELS,
    Rig,
    dataset_of,
    tiny_backbone,
    tiny_clips,
    tiny_encoder,
    tiny_image_backbone,
    tiny_pictures,
    tiny_sound_task,
    uneven_rows,
    weights_of,
)


def chances(logits: list[float], temperature: float) -> list[float]:
    powers = np.exp(np.array(logits, dtype=np.float64) / temperature)
    return (powers / powers.sum()).tolist()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_softened_divergence_is_the_formula_and_its_gradient(temperature: float) -> None:
    student, teacher = [[0.3, -1.2, 2.0], [0.0, 0.0, 0.5]], [[1.0, 0.1, -0.4], [3.0, -3.0, 0.0]]
    wanted, slopes = [], []
    for s, t in zip(student, teacher, strict=True):
        p, q = chances(s, temperature), chances(t, temperature)
        wanted.append(temperature**2 * sum(b * np.log(b / a) for a, b in zip(p, q, strict=True)))
        slopes.append([temperature * (a - b) for a, b in zip(p, q, strict=True)])
    logits = torch.tensor(student, requires_grad=True)
    found = softened_divergence(logits, torch.tensor(teacher), temperature)
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)
    found.sum().backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), slopes, rtol=1e-4, atol=1e-6)


def test_several_labels_are_as_many_questions_of_yes_and_no() -> None:
    student, teacher = torch.tensor([[0.3, -1.2], [40.0, -40.0]]), torch.tensor([[1.0, 0.1], [-40.0, 40.0]])
    found = softened_divergence_of_several(student, teacher, 2.0)
    wanted = torch.stack(
        [softened_divergence(torch.stack([0 * s, s], -1), torch.stack([0 * t, t], -1), 2.0) for s, t in zip(student.T, teacher.T, strict=True)]
    ).mean(0)  # fmt: skip
    torch.testing.assert_close(found, wanted)
    assert bool(torch.isfinite(found).all())


def test_equal_answers_are_no_distance_apart() -> None:
    logits = torch.randn(4, 7)
    assert softened_divergence(logits, logits + 3.0, 4.0).abs().max() < 1e-5
    assert softened_divergence_of_several(logits, logits, 4.0).abs().max() < 1e-5


def test_hidden_distance_is_the_error_over_the_teachers_size_on_real_positions() -> None:
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = hidden_distance(student, teacher, mask)
    for row, real in ((0, 2), (1, 3)):
        error = ((student[row, :real] - teacher[row, :real]) ** 2).sum() / (teacher[row, :real] ** 2).sum()
        assert float(found[row]) == pytest.approx(float(error), rel=1e-5)
    assert hidden_distance(torch.zeros_like(teacher), teacher, mask).tolist() == pytest.approx([1.0, 1.0])


def test_relation_distance_is_kl_of_attention_over_real_positions() -> None:
    torch.manual_seed(0)
    own, others = (torch.randn(2, 3, 4), torch.randn(2, 3, 4)), (torch.randn(2, 3, 6), torch.randn(2, 3, 6))
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = relation_distance(own, others, 2, mask)
    for row, real in ((0, 2), (1, 3)):
        total = 0.0
        for head in range(2):
            rows = []
            for query, key in (own, others):
                size = query.shape[-1] // 2
                part = slice(head * size, (head + 1) * size)
                scores = query[row, :real, part] @ key[row, :real, part].T / size**0.5
                rows.append(torch.softmax(scores, dim=-1))
            p, q = rows
            total += float((q * (q / p).log()).sum())
        assert float(found[row]) == pytest.approx(total / (2 * real), rel=1e-4)


def test_maps_of_layers_and_heads() -> None:
    assert layer_map(2, 6) == ((0, 0), (1, 3), (2, 6))
    assert layer_map(4, 12) == ((0, 0), (1, 3), (2, 6), (3, 9), (4, 12))
    assert layer_map(2, 2) == ((0, 0), (1, 1), (2, 2))
    assert relation_heads(384, 12, 384, 12) == 12
    assert relation_heads(128, 2, 384, 12) == 2
    assert relation_heads(256, 4, 384, 12) == 4
    assert relation_heads(100, 5, 96, 3) == 2


@pytest.mark.parametrize("kind", ["distil", "distil-multilabel", "distil-speech"])
def test_the_loss_is_its_parts_weighed(kind: str) -> None:
    rig = Rig(kind, temperature=3.0, hard_weight=0.3)
    batch = rig.batch(range(9))
    task, rig_loss = rig.objective.task, rig.loss(batch)
    logits = rig.model(**batch.inputs).logits.detach()
    teachers = batch.extras["teacher_logits"]
    labelled = task.is_labelled(batch)
    assert labelled.tolist() == [row % 4 != 1 for row in range(9)]
    soft, hard = task.soft_losses(logits, teachers, batch, 3.0), task.hard_losses(logits, batch)
    wanted = sum(0.3 * float(hard[i]) + 0.7 * float(soft[i]) if labelled[i] else float(soft[i]) for i in range(9))
    assert float(rig_loss.total.detach()) == pytest.approx(wanted, rel=1e-5)
    assert hard[~labelled].abs().sum() == 0
    assert rig_loss.log["soft"] == pytest.approx(float(soft.sum()), rel=1e-5)


def test_the_hard_part_is_what_the_task_itself_says_of_labelled_rows() -> None:
    for kind, options in (
        ("distil", {"class_weights": (0.5, 1.0, 3.0)}),
        ("distil-multilabel", {}),
        ("distil-speech", {}),
    ):
        rig = Rig(kind, **options)
        rows = [0, 2, 3, 4]
        batch = rig.batch(rows)
        own = rig.objective.task.loss(rig.model, batch)
        hard = rig.objective.task.hard_losses(rig.model(**batch.inputs).logits, batch)
        assert float(hard.detach().sum()) == pytest.approx(float(own.total.detach()), rel=1e-5), kind


def test_speech_is_compared_frame_by_frame() -> None:
    rig = Rig("distil-speech")
    batch = rig.batch([0, 1, 2])
    logits, teachers = rig.model(**batch.inputs).logits, batch.extras["teacher_logits"]
    assert teachers.shape == logits.shape
    found = rig.objective.task.soft_losses(logits, teachers, batch, 2.0)
    for row, frames in enumerate(batch.extras["frames"].tolist()):
        wanted = softened_divergence(logits[row, :frames], teachers[row, :frames], 2.0).sum()
        assert float(found[row].detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
        assert frames < logits.shape[1] or row == 2


@pytest.mark.parametrize("kind", ["distil", "distil-multilabel", "distil-speech"])
def test_what_is_kept_is_what_the_teacher_says_anew(kind: str) -> None:
    kept, live = Rig(kind, hidden=True, attention=True), Rig(kind, hidden=True, attention=True, live=True)
    for rows in ([3], [0, 5, 7, 11], range(12)):
        one, other = kept.batch(rows), live.batch(rows)
        real = one.extras.get("positions", one.inputs.get("attention_mask")).bool()
        logits = (one.extras["teacher_logits"], other.extras["teacher_logits"])
        states = (one.extras["teacher_states"], other.extras["teacher_states"])
        assert states[0].shape == states[1].shape
        if kind == "distil-speech":
            logits = (logits[0][real], logits[1][real])
        torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(states[0][real], states[1][real], rtol=2e-3, atol=2e-3)  # kept as float16
        assert float(kept.loss(one).total.detach()) == pytest.approx(float(live.loss(other).total.detach()), rel=1e-3)


def test_the_teacher_is_run_once_a_row_and_its_words_are_read_again() -> None:
    rig = Rig("distil")
    teacher, rows = rig.teacher, rig.objective.task.encode_rows(dataset_of(uneven_rows(17)), fingerprint="once")
    done: list[int] = []
    for _ in range(2):
        kept = cache_teaching(teacher, rows, rows, is_alike=True, fingerprint="once", on_batch=done.append)
        assert kept is not None
    assert sum(done) == 17
    with torch.no_grad():
        next(teacher.model.parameters()).add_(1e-3)
    cache_teaching(teacher, rows, rows, is_alike=True, fingerprint="once", on_batch=done.append)
    assert sum(done) == 34, "other weights are another teacher"


def test_listening_changes_neither_model() -> None:
    backbone = tiny_backbone(layers=3)
    task = TextClassification(LABELS, tiny_encoder(backbone))
    rows = task.encode_rows(dataset_of(uneven_rows(6)), fingerprint="listen")
    batch = task.collate([rows[i] for i in range(6)])
    plain, _ = task.build(backbone, seed=0)
    heard, _ = task.build(backbone, seed=0)
    listener = Listener(heard, (0, 1, 3), relations=True)
    for model in (make_fast(plain), make_fast(heard)):
        model.train()
    one, other = plain(**batch.inputs).logits, heard(**batch.inputs).logits
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    states = listener.take()
    assert states is not None
    assert [tuple(state.shape) for state in states] == [(6, batch.inputs["input_ids"].shape[1], 32)] * 6
    own = plain.eval()(**batch.inputs, output_hidden_states=True).hidden_states
    heard.eval()(**batch.inputs)
    states = listener.take()
    assert states is not None
    for state, wanted in zip(states[:3], (own[0], own[1], own[3]), strict=True):
        torch.testing.assert_close(state, wanted, rtol=1e-5, atol=1e-6)
    assert listener.take() is None
    heard(**batch.inputs)
    heard(**batch.inputs)
    assert listener.take() is None, "two passes are not one batch's"


def test_a_student_on_other_tokens_learns_answers_alone() -> None:
    student, other = tiny_backbone(), tiny_backbone("roberta")
    task, others = (TextClassification(LABELS, tiny_encoder(one, max_length=32)) for one in (student, other))
    windows = TextClassification(LABELS, tiny_encoder(other, max_length=12, long_text="windows"))
    data = dataset_of(uneven_rows(12))
    rows = task.encode_rows(data, fingerprint="tokens")
    model, _ = task.build(student, seed=0)
    for own in (others, windows):
        teacher = Teacher(own, own.build(other, seed=1)[0], CPU)
        lesson = ready(task, model, teacher, rows, hidden=True, attention=True, seed=0)
        assert lesson.model is model
        assert "other pieces" in lesson.left_out
        own_rows = own.encode_rows(data, fingerprint="other-tokens")
        kept = cache_teaching(teacher, own_rows, rows, is_alike=False, fingerprint="tokens")
        assert kept is not None
        objective = Distil(task, plan_adaptation(model, "full", weight_decay=0.0), CachedTeaching([kept]))
        stream = objective.streams(rows, batch_size=4, group_by_length=True)["rows"]
        batch = stream.collate(np.arange(12), np.arange(12, dtype=np.uint64))["rows"]
        by_id: dict[str, list[Any]] = {}
        for number in range(len(own_rows)):
            said = teacher.says(own.collate([own_rows[number]])).logits[0]
            by_id.setdefault(own_rows[number].id, []).append(said)
        wanted = torch.stack([torch.stack(by_id[i]).mean(0) for i in batch.ids])
        torch.testing.assert_close(batch.extras["teacher_logits"], wanted, rtol=1e-4, atol=1e-5)
    assert max(len(said) for said in by_id.values()) > 1, "some rows have several windows"


def test_a_varied_picture_is_shown_to_the_teacher_as_the_student_sees_it() -> None:
    backbone = tiny_image_backbone()
    task = ImageClassification(LABELS, image_transform_of(backbone.processor), augment="strong")
    model, _ = task.build(backbone, seed=0)
    teacher = Teacher(ImageClassification(LABELS, task.geometry), task.build(backbone, seed=1)[0], CPU)
    rows = task.encode_rows(dataset_of(tiny_pictures(12)), fingerprint="varied")
    lesson = ready(task, model, teacher, rows, hidden=True, attention=True, seed=0)
    assert not lesson.left_out
    objective = Distil(
        task, plan_adaptation(lesson.model, "full", weight_decay=0.0), LiveTeaching(lesson.teacher), matching=lesson.matching
    )  # fmt: skip
    stream = objective.streams(rows, batch_size=4, group_by_length=True)["rows"]
    batch = stream.collate(np.arange(8), np.arange(8, dtype=np.uint64))["rows"]
    with torch.no_grad():
        said = teacher.model.eval()(**batch.inputs).logits
    torch.testing.assert_close(batch.extras["teacher_logits"], said, rtol=1e-4, atol=1e-5)
    again = stream.collate(np.arange(8), np.arange(8, dtype=np.uint64) + np.uint64(50))["rows"]
    assert not torch.allclose(again.extras["teacher_logits"], said, atol=1e-4), "another view, another answer"
    objective.loss(lesson.model, {"rows": batch}, torch.Generator()).total.backward()


def test_a_varied_text_is_given_to_the_teacher_as_the_student_reads_it() -> None:
    backbone = tiny_backbone(layers=3)
    task = TextClassification(LABELS, tiny_encoder(backbone), augment="strong")
    model, _ = task.build(backbone, seed=0)
    own = TextClassification(LABELS, task.encoder)
    assert task.vary_as(own)
    teacher = Teacher(own, own.build(backbone, seed=1)[0], CPU)
    with torch.no_grad():
        for weight in teacher.model.parameters():
            weight.mul_(8.0)  # fresh weights answer all texts nearly alike
    rows = task.encode_rows(dataset_of(uneven_rows(12)), fingerprint="reworded")
    lesson = ready(task, model, teacher, rows, hidden=True, attention=True, seed=0)
    objective = Distil(
        task, plan_adaptation(lesson.model, "full", weight_decay=0.0), LiveTeaching(lesson.teacher), matching=lesson.matching
    )  # fmt: skip
    keys = np.arange(12, dtype=np.uint64)
    batch = objective.streams(rows, batch_size=12, group_by_length=True)["rows"].collate(np.arange(12), keys)["rows"]
    whole = task.collate([rows[number] for number in range(12)])
    assert (batch.inputs["input_ids"] == backbone.tokenizer.mask_token_id).any()
    lengths, wholes = (one.inputs["attention_mask"].sum(1) for one in (batch, whole))
    assert (lengths <= wholes).all()
    assert (lengths < wholes).any(), "stretches"
    with torch.no_grad():
        said, of_wholes = (teacher.model.eval()(**one.inputs).logits for one in (batch, whole))
    torch.testing.assert_close(batch.extras["teacher_logits"], said, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(said, of_wholes, rtol=1e-2, atol=1e-2), "another text, another answer"
    objective.loss(lesson.model, {"rows": batch}, torch.Generator()).total.backward()


def test_a_student_that_reads_smaller_pictures_sees_the_teachers_view_scaled_down() -> None:
    backbone = tiny_image_backbone("resnet-10")
    large = ImageClassification(LABELS, image_transform_of(backbone.processor).at(48))
    small = ImageClassification(LABELS, large.geometry.at(16), augment="strong")
    assert not small.same_inputs_as(large)
    assert small.vary_as(large)
    teacher = Teacher(large, large.build(backbone, seed=1)[0], CPU)
    rows = large.encode_rows(dataset_of(tiny_pictures(8, side=60)), fingerprint="larger")
    student, _ = small.build(backbone, seed=0)
    lesson = ready(small, student, teacher, rows, hidden=True, attention=True, seed=0)
    assert lesson.left_out
    assert lesson.teacher is not None
    objective = Distil(
        small, plan_adaptation(lesson.model, "full", weight_decay=0.0), LiveTeaching(lesson.teacher), matching=None
    )
    keys = np.arange(8, dtype=np.uint64) + np.uint64(3)
    batch = objective.streams(rows, batch_size=8, group_by_length=False)["rows"].collate(np.arange(8), keys)["rows"]
    assert batch.inputs["pixel_values"].shape == (8, 3, 16, 16)
    views = torch.nn.functional.interpolate(batch.inputs["pixel_values"], size=(48, 48), mode="bilinear")
    given = large.collate([small.for_teacher(learned_item(small, rows, i, int(keys[i]))) for i in range(8)])
    assert given.inputs["pixel_values"].shape == (8, 3, 48, 48)
    alike = [
        torch.corrcoef(torch.stack([views[i].flatten(), given.inputs["pixel_values"][i].flatten()])) for i in range(8)
    ]
    assert min(float(one[0, 1]) for one in alike) > 0.5, "the same crop, turned and mixed alike"
    said = teacher.model.eval()(**given.inputs).logits.detach()
    torch.testing.assert_close(batch.extras["teacher_logits"], said, rtol=1e-4, atol=1e-5)
    objective.loss(lesson.model, {"rows": batch}, torch.Generator()).total.backward()


def test_a_teacher_that_reads_smaller_pictures_cannot_be_given_the_students_view() -> None:
    geometry = image_transform_of(tiny_image_backbone("resnet-10").processor)
    small, large = (ImageClassification(LABELS, geometry.at(side), augment="light") for side in (16, 48))
    assert not large.vary_as(small)
    assert large.view is large.geometry


def test_the_teacher_hears_what_is_hidden_from_the_student() -> None:
    task, _ = tiny_sound_task("speech", augment="strong", mask=FrameMask(0.5, 4))
    rows = task.encode_rows(dataset_of(tiny_clips(4)), fingerprint="heard")
    varied = task.augment(rows[0], np.random.default_rng(1))
    assert varied.arrays["mask"].any()
    given = task.for_teacher(varied)
    assert set(given.arrays) == {"samples"}
    assert given.arrays["samples"] is varied.arrays["samples"]
    assert given.target is None


def test_convolutions_are_compared_by_answers() -> None:
    backbone = tiny_image_backbone("resnet-10")
    task = ImageClassification(LABELS, image_transform_of(backbone.processor))
    model, _ = task.build(backbone, seed=0)
    teacher = Teacher(task, task.build(backbone, seed=1)[0], CPU)
    rows = task.encode_rows(dataset_of(tiny_pictures(6)), fingerprint="convolved")
    lesson = ready(task, model, teacher, rows, hidden=True, attention=True, seed=0)
    assert lesson.model is model
    assert "only answers" in lesson.left_out


def test_answers_that_mean_something_else_are_refused() -> None:
    backbone = tiny_backbone()
    task = TextClassification(LABELS, tiny_encoder(backbone))
    with pytest.raises(ModelError, match="weather"):
        task.check_teacher(TextClassification(("money", "weather"), tiny_encoder(backbone)))
    speech, _ = tiny_sound_task("speech")
    speech.check_teacher(speech)


def test_joined_rows_are_those_of_the_parts() -> None:
    task = TextClassification(LABELS, tiny_encoder(tiny_backbone()))
    parts = [task.encode_rows(dataset_of(uneven_rows(n, seed=n)), fingerprint=f"part-{n}") for n in (5, 3)]
    joined = JoinedRows(parts)
    assert len(joined) == 8
    assert [joined[i].id for i in range(8)] == [part[i].id for part in parts for i in range(len(part))]
    assert joined.lengths_N.tolist() == [n for part in parts for n in part.lengths_N]


def test_a_student_comes_nearer_to_its_teacher_and_the_teacher_stays() -> None:
    rig = Rig("distil", hidden=True, attention=True, steps=60, learning_rate=3e-3, hard_weight=0.0)
    before = weights_of(rig.teacher.model)
    steps = rig.train()
    assert all(torch.equal(before[name], value) for name, value in weights_of(rig.teacher.model).items())
    for part, end in (("soft", 60), ("hidden", 30), ("attention", 30)):
        first, last = (np.mean([step.parts[part] for step in some]) for some in (steps[:6], steps[end - 6 : end]))
        assert last < 0.8 * first, part
    assert all(step.parts["hidden"] == step.parts["attention"] == 0.0 for step in steps[30:]), "answers alone"
    assert isinstance(rig.model, MatchedStudent)
    task = rig.objective.task
    rows = task.encode_rows(dataset_of(uneven_rows(24)), fingerprint="nearer")
    alike = [
        one.answer == other.answer
        for one, other in zip(
            predict_rows(task, rig.model, rows, CPU), predict_rows(task, rig.teacher.model, rows, CPU), strict=True
        )
    ]
    assert np.mean(alike) > 0.8
    assert len(encoder_layers(rig.student)) == 2


def test_a_teacher_with_too_much_to_say_is_run_live_and_what_is_kept_is_read_however_full_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig("distil", hidden=True)
    rows = rig.objective.task.encode_rows(dataset_of(uneven_rows(11)), fingerprint="full")
    assert cache_teaching(rig.teacher, rows, rows, is_alike=True, fingerprint="kept before") is not None
    monkeypatch.setattr(teaching_rows, "MAX_STORE_BYTES", teaching_rows.cached_bytes(rig.teacher, rows) - 1)
    assert cache_teaching(rig.teacher, rows, rows, is_alike=True, fingerprint="kept before") is not None
    assert cache_teaching(rig.teacher, rows, rows, is_alike=True, fingerprint="not before") is None
