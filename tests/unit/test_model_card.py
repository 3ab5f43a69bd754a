"""The model card: front matter, scores, and text from data that stays text."""

from __future__ import annotations

import re

from report_samples import HOSTILE, evaluation, passport, record

from pretune.report.card import model_card


def test_the_card_has_front_matter_scores_and_the_command() -> None:
    card = model_card(record(), {"test": evaluation()}, passport())
    front = card.split("---")[1]
    assert "library_name: transformers" in front
    assert "pipeline_tag: text-classification" in front
    assert "license: unknown" in front
    assert "- accuracy" in front
    assert "| accuracy | 91.2 % \\[90.2, 92.2\\] | 10.0 % \\[9.0, 11.0\\] | 84.0 % \\[83.0, 85.0\\] |" in card
    assert "pretune finetune base --data 'b' --epochs 3.0 --drop-leaks" in card
    assert "n = 200" in card
    assert "license: apache-2.0" in model_card(record(license="apache-2.0"), {}, {})


def test_the_card_of_a_pretrained_model_shows_how_to_go_on() -> None:
    card = model_card(record(verb="pretrain", model={"task": "masked-language-modelling"}), {}, {})
    assert "pipeline_tag: fill-mask" in card
    assert "AutoModelForMaskedLM" in card
    assert "Not evaluated yet." in card
    card = model_card(record(verb="pretrain", model={"task": "contrastive-audio"}), {}, {})
    assert "pipeline_tag" not in card
    assert "MaskedLM" not in card
    assert "pretune predict" not in card
    assert "AutoModel.from_pretrained" in card
    assert "pretune finetune THIS_FOLDER" in card


def test_hostile_strings_stay_text_in_the_card() -> None:
    word = HOSTILE + " | [x](http://evil) `code` ``` \n# head\n---\nlicense: mit"
    card = model_card(record(word), {"test": evaluation(word)}, passport(word))
    outside = re.sub(r"^(`{3,})\w*\n.*?\n\1$", "", card, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside
    assert "<img" not in outside
    assert "&amp;amp;" in outside
    assert "\n# head" not in outside
    assert not re.search(r"(?<!\\)\]\(", outside)
    assert "license: mit" not in card.split("\n---\n")[0]
