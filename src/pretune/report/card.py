"""The model card: README.md of a model folder, for people and for the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.files import write_text
from pretune.forwarded import places_in
from pretune.hub import PREFIX
from pretune.report.lineage import backbone_of
from pretune.report.parts.sections import changed_settings
from pretune.report.passport.findings import findings_sentence, streamed_sentence
from pretune.report.passport.parts import total_rows
from pretune.report.privacy_words import guarantee_lines
from pretune.report.story import caveats, main_split, ordered_splits, primary_of
from pretune.report.words import (
    HOW_TO_LOAD,
    clean_text,
    duration_text,
    is_score,
    name_of,
    number_text,
    plain,
    score_text,
    title_of,
    unsaid_pooling,
)
from pretune.runfolder import RunFolder, data_of
from pretune.wording import counted

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["model_card", "write_card"]

_MASKED = ("masked-language-modelling", "fill-mask")
_GIVEN = {
    "image-classification": "a-picture.jpg",
    "audio-classification": "a-clip.wav",
    "automatic-speech-recognition": "a-clip.wav",
}
_LIBRARIES = {"onnxruntime": "onnx", "openvino": "openvino", "torch.export": "pytorch"}
"""Where the model is not in transformers' form: the hub's name of what opens it, by its engine."""

_HUB_METRICS = {
    **{f"{score}_{how}": score for score in ("precision", "recall", "f1") for how in ("macro", "micro", "weighted")},
    "mcc": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr", "brier": "brier_score", "auc": "roc_auc",
}  # fmt: skip
"""What the hub calls a score, where it is called otherwise here."""

_NOT_IN_NAMES = re.compile(r"[^\w .,+()/-]")
_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~$!])")


def write_card(run: RunFolder, folder: Path) -> None:
    """README.md of a run's model in ``folder``, as of a finished run: the card is written before the run says that it is."""
    card = model_card({**run.record, "status": "finished"}, run.metrics, run.passport)
    write_text(folder / "README.md", card)


def model_card(run_record: Mapping[str, Any], metrics: Mapping[str, Any], passport: Mapping[str, Any]) -> str:
    """The card as Markdown with the hub's front matter. Every text from data is escaped, places are named by their
    last part; the same input gives the same text.
    """
    places = places_in(run_record, passport)
    run_record, metrics, passport = places.shown(run_record), places.shown(metrics), places.shown(passport)
    name = name_of(plain((run_record.get("settings") or {}).get("out") or "this model"))
    chapters = (
        _front_matter(name, run_record, metrics),
        f"# {_safe(name)}",
        _what(run_record, metrics),
        _use(run_record),
        _scores(metrics),
        _data(run_record, passport),
        _privacy(run_record),
        _made(run_record),
        _limits(run_record, metrics, passport),
    )
    return clean_text("\n\n".join(chapter for chapter in chapters if chapter) + "\n")


def _safe(content: object) -> str:
    """Text on one line, with the signs that Markdown or HTML would act on made plain."""
    line = " ".join(plain(content).split()).replace("&", "&amp;")
    return _SIGNS.sub(r"\\\1", line).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _fenced(content: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content}\n{fence}"


def _pipeline(record: Mapping[str, Any]) -> str | None:
    from pretune.tasks import TASKS

    asked = str((record.get("model") or {}).get("task"))
    return dict([_MASKED, *((task.name, task.hub_task) for task in TASKS if task.hub_task)]).get(asked)


def _front_matter(name: str, record: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """What the hub reads: beside what the run knows of itself, ``card`` of run.json (``pretune push`` asks for it)."""
    from huggingface_hub import ModelCardData

    about, settings = record.get("card") or {}, record.get("settings") or {}
    results = [one for split in ordered_splits(metrics) for one in _hub_results(record, split, metrics[split])]
    card = ModelCardData(
        library_name=_LIBRARIES.get(_engine(record) or "", "transformers"),
        pipeline_tag=_pipeline(record),
        license=str(about.get("license") or record.get("license") or "unknown"),
        language=about.get("language") or None,
        base_model=about.get("base_model") or _hub_id(settings.get("backbone")),
        datasets=about.get("datasets") or _hub_id(settings.get("data")),
        tags=["pretune"],
        metrics=list(dict.fromkeys(one.metric_type for one in results)) or None,
        eval_results=results or None,
        model_name=_as_name(name) if results else None,
    )
    return f"---\n{card.to_yaml()}\n---"


def _as_name(content: str) -> str:
    """Text from data as a name in the front matter: letters, digits and a few signs."""
    return " ".join(_NOT_IN_NAMES.sub(" ", content).split())


def _hub_id(place: object) -> str | None:
    """The id of what was named as the hub's, whatever it looks like."""
    return str(place).removeprefix(PREFIX) if str(place).startswith(PREFIX) else None


def _hub_results(record: Mapping[str, Any], split: str, evaluation: Mapping[str, Any]) -> list[EvalResult]:
    """The scores of a split for the hub's box of results: the first of each kind that the hub knows, its interval in words."""
    from huggingface_hub import EvalResult

    named = ", ".join(name_of(plain(place)) for place in data_of({"settings": record.get("settings")}))
    data = _as_name(named) or "unknown"
    dataset = ((record.get("card") or {}).get("datasets") or [None])[0] or _hub_id(
        (record.get("settings") or {}).get("data")
    )
    found: dict[str, EvalResult] = {}
    for name, score in evaluation["scores"].items():
        kind = str(_HUB_METRICS.get(name, name))
        if kind in found or not is_score(score) or score["value"] is None:
            continue
        found[kind] = EvalResult(
            task_type=_pipeline(record) or str((record.get("model") or {}).get("task")), dataset_type=dataset or data,
            dataset_name=data, dataset_split=_as_name(split), metric_type=kind, metric_value=score["value"],
            metric_name=f"{title_of(name)}, {score_text(name, score)}, n = {score.get('n', evaluation.get('n'))}",
        )  # fmt: skip
    return list(found.values())


def _what(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    model = record.get("model") or {}
    begun = backbone_of(record)
    said = [
        f"Made by {title_of(str(record.get('verb', 'training')))} with pretune{f', beginning from {_safe(begun)}' if begun else ''}."
    ]
    if model.get("task"):
        said.append(f"Task: {_safe(title_of(str(model['task'])))}.")
    if model.get("parameters"):
        said.append(f"It has {number_text(model['parameters'])} parameters.")
    if model.get("labels"):
        labels = [_safe(label) for label in model["labels"]]
        said.append(f"Labels ({len(labels)}): {', '.join(labels[:50])}{' …' if len(labels) > 50 else ''}.")
    split = main_split(metrics)
    primary = primary_of(metrics[split]) if split else None
    if split and primary:
        said.append(
            f"On the {_safe(split)} split ({counted(primary[1].get('n'), 'row')}) its {_safe(title_of(primary[0]))} is {_safe(score_text(*primary))}."
        )
    return " ".join(said)


def _use(record: Mapping[str, Any]) -> str:
    pipeline = _pipeline(record)
    given = _GIVEN.get(pipeline or "", "rows.csv")
    lines = ["## How to use it"]
    pooled: Mapping[str, Any] = (record.get("model") or {}).get("pooled") or {}
    if engine := _engine(record):
        lines += _use_alone(engine, given, speaks=_answers_with_files(record))
    elif pipeline == "fill-mask":
        lines.append(
            _fenced(
                'from transformers import AutoModelForMaskedLM, AutoTokenizer\n\ntokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")\nmodel = AutoModelForMaskedLM.from_pretrained("THIS_FOLDER")',
                "python",
            )
        )
        lines.append(
            "Control tokens in a text are read as text; to have the mask token read as a mask: `tokenizer(text, split_special_tokens=False)`."
        )
        lines.append(_fenced("pretune finetune THIS_FOLDER --data labelled.csv", "sh"))
    elif record.get("verb") == "pretrain":
        lines.append(
            _fenced('from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("THIS_FOLDER")', "python")
        )
        lines.append(_fenced("pretune finetune THIS_FOLDER --data labelled/", "sh"))
    elif pooled and not pooled["plain"]:
        lines += [
            f"{unsaid_pooling(pooled['modes'])} {HOW_TO_LOAD}",
            _fenced(_OPENED, "python"),
            _fenced(f"pretune predict RUN {given}", "sh"),
        ]
    else:
        if pipeline:
            lines.append(
                _fenced(
                    f'from transformers import pipeline\n\nanswer = pipeline("{pipeline}", model="THIS_FOLDER")\nanswer("{"a text" if given == "rows.csv" else given}")',
                    "python",
                )
            )
        if pooled:
            lines.append(_ONE_LAYER_MORE.format(read=_safe(pooled["modes"][0])))
        lines.append(_fenced(f"pretune predict RUN {given}", "sh"))
    return "\n\n".join(lines)


_OPENED = """import pretune

trained = pretune.open_model("THIS_FOLDER")
inputs = trained.backbone.tokenizer(["a text"], padding=True, return_tensors="pt")
logits = trained.model(**inputs).logits"""

_ONE_LAYER_MORE = (
    "The classifier reads the {read} of the tokens. As transformers' own class reads the first position, the last layer of this folder "
    "only brings it there; it learned nothing, and pretune, and what it exports, leave it out. This holds in float32 and bfloat16, "
    "not in float16."
)


def _engine(record: Mapping[str, Any]) -> str | None:
    """What runs a model that does not lie in transformers' form; None for one that does."""
    return str((record.get("export") or {}).get("engine") or "") or (
        "onnxruntime" if "quantization" in record else None
    )


def _answers_with_files(record: Mapping[str, Any]) -> bool:
    """Is an answer of its task a file, such as a clip? Such a model reads letters, and needs no tokenizer."""
    from pretune.answers import ANSWERS
    from pretune.tasks import TASKS

    asked = (record.get("model") or {}).get("task")
    return any(task.name == asked and ANSWERS[task.answer].in_files for task in TASKS)


def _use_alone(engine: str, given: str, *, speaks: bool) -> list[str]:
    """How to ask a graph: by the program beside it, and by pretune where it runs the engine."""
    needs = "torch" if engine.startswith("torch") else engine
    extra = {"a-picture.jpg": " pillow", "a-clip.wav": " soxr"}.get(given, "" if speaks else " tokenizers")
    into = " --out said" if speaks else ""
    commands = [f"pip install {needs} numpy{extra}\npython predict.py {given}{into}"]
    commands += [] if needs == "torch" else [f"pretune predict RUN {given}{into}"]
    said = f"The model is a graph for {_safe(engine)}; transformers does not load it."
    return [said, *(_fenced(command, "sh") for command in commands)]


def _scores(metrics: Mapping[str, Any]) -> str:
    chapters = []
    for split in ordered_splits(metrics):
        evaluation = metrics[split]
        baselines = {
            key: scores for key, scores in (evaluation.get("baselines") or {}).items() if isinstance(scores, Mapping)
        }
        heads = ["score", "this model", *(_safe(title_of(key)) for key in baselines)]
        lines = [
            f"On the {_safe(split)} split, n = {number_text(evaluation.get('n'))}, 95 % intervals in brackets:",
            "",
            _row(heads),
            _row(["---"] * len(heads)),
        ]
        for name, score in evaluation["scores"].items():
            cells = [one.get(name) for one in ({name: score}, *baselines.values())]
            lines.append(
                _row(
                    [
                        _safe(title_of(name)),
                        *(_safe(score_text(name, cell)) if is_score(cell) else "–" for cell in cells),
                    ]
                )
            )
        chapters.append("\n".join(lines))
    return "\n\n".join(["## Scores", *(chapters or ["Not evaluated yet."])])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _data(record: Mapping[str, Any], passport: Mapping[str, Any]) -> str:
    splits = {name: value for name, value in (passport.get("splits") or {}).items() if isinstance(value, Mapping)}
    places = ", ".join(_safe(name_of(plain(place))) for place in data_of({"settings": record.get("settings")}))
    said = [f"Learnt from {places}." if places else ""]
    if splits:
        sizes = ", ".join(f"{_safe(name)} {number_text(split.get('rows'))}" for name, split in splits.items())
        said.append(f"{counted(total_rows(passport), 'row')}: {sizes}.")
    said += [findings_sentence(passport), _safe(streamed_sentence(record))]
    text = " ".join(sentence for sentence in said if sentence)
    return f"## Data\n\n{text}" if text else ""


def _privacy(record: Mapping[str, Any]) -> str:
    """The guarantee of a private run."""
    facts = record.get("privacy")
    return "## Privacy\n\n" + "\n".join(f"- {_safe(line)}" for line in guarantee_lines(facts)) if facts else ""


def _made(record: Mapping[str, Any]) -> str:
    machine = record.get("machine") or {}
    lines = ["## How it was made"]
    if record.get("command"):
        lines.append(_fenced(str(record["command"]), "sh"))
    changed = changed_settings(record)
    if changed:
        lines.append("\n".join(f"- {_safe(key.replace('_', ' '))}: {_safe(value)}" for key, value in changed.items()))
    facts = [f"{key} {_safe(machine[key])}" for key in ("python", "torch", "transformers") if machine.get(key)]
    if record.get("seconds") is not None:
        facts.append(f"time {duration_text(record['seconds'])}")
    lines.append(", ".join(facts))
    return "\n\n".join(line for line in lines if line) if len(lines) > 1 else ""


def _limits(record: Mapping[str, Any], metrics: Mapping[str, Any], passport: Mapping[str, Any]) -> str:
    said = caveats(record, metrics, passport) or ["It was not evaluated, so nothing is known of its quality."]
    return "## Limits\n\n" + "\n".join(f"- {_safe(sentence)}" for sentence in said)
