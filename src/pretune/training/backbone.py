"""The backbone that a run begins from: found for the data, with what the data says of fresh ones, and its learning rate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pretune.config import TrainSettings
from pretune.errors import UsageError
from pretune.modalities import Modality

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone
    from pretune.data.splits import Splits
    from pretune.engine.devices import Device

__all__ = ["default_learning_rate", "find_backbone", "steady"]


def steady(device: Device, backbone: Backbone, settings: TrainSettings) -> Device:
    """The device with fp32 for linear models, and for sound on a processor, unless bf16 was asked for: the processor library's
    bf16 gradients of wav2vec 2.0's convolutions were not finite for some short clips (torch 2.15). Small encoder-decoders learn faster in
    fp32 there: their products are small and of many sizes (docs/decisions.md, D148).
    """
    from pretune.backbones.linear import is_linear

    is_risky = backbone.modality is Modality.AUDIO and device.device.type == "cpu"
    writes = getattr(backbone.config, "is_encoder_decoder", False) and device.device.type == "cpu"
    is_small = writes and int(getattr(backbone.config, "hidden_size", 768)) <= _SMALL_WRITER
    is_exact = settings.precision == "auto" and (is_risky or is_small or is_linear(backbone.config))
    return dataclasses.replace(device, precision="fp32") if is_exact else device


def find_backbone(settings: Any, data: Splits, splits: tuple[str, ...] = ("train", "unlabelled")) -> Backbone:
    """The backbone for the data; with ``scratch:`` its tokenizer is trained on the texts of ``splits``, never on held-out
    rows, and its pictures are no larger than the data's. Raises :class:`UsageError` where it reads another kind of data.
    """
    from pretune.answers import ANSWERS, Answer, answer_of
    from pretune.backbones.linear import LINEAR_FEATURES, linear_features
    from pretune.backbones.load import load_backbone
    from pretune.backbones.presets.named import SCRATCH, preset_modality
    from pretune.data.checks.rows import column_values
    from pretune.data.columns.roles import kinds_in
    from pretune.data.load import modality_of

    features = linear_features(settings.backbone)
    splits = splits if features is None else ("train",)

    def texts() -> Any:
        for dataset in (data[name] for name in splits if name in data):
            for column in ("text", "text_pair"):
                if column in dataset.column_names:
                    yield from column_values(dataset, column)
            for kind in kinds_in(dataset.column_names):
                if ANSWERS[kind].contents is not Answer.contents:
                    for answer in (answer_of(kind, cell) for cell in column_values(dataset, kind)):
                        yield from answer.contents() if answer is not None else ()

    modality = modality_of(data)
    is_scratch = settings.backbone.startswith(SCRATCH)
    if is_scratch:  # before a tokenizer is trained on what is no text
        _refuse_other(settings, preset_modality(settings.backbone.removeprefix(SCRATCH)), modality)
    if features is not None:
        _refuse_other(settings, LINEAR_FEATURES[features], modality)
    found = load_backbone(
        settings.backbone,
        texts=texts,
        tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size,
        image_size=settings.image_size or (_small_side(data) if modality is Modality.IMAGE else None),
        sampling_rate=settings.sampling_rate
        or (_rate_for(settings.backbone, data) if modality is Modality.AUDIO and (is_scratch or features) else None),
        unspaced=features is not None and not modality.is_file and _is_unspaced(data),
        trust_remote_code=settings.trust_remote_code,
    )
    _refuse_other(settings, found.modality, modality)
    return found


def _is_unspaced(data: Splits) -> bool:
    """Are the training texts in scripts without spaces between words?"""
    from pretune.data.text.scripts import count_scripts, mostly_unspaced, shares

    return mostly_unspaced(shares(count_scripts(data["train"][:_SCRIPT_ROWS]["text"])))


def _refuse_other(settings: Any, reads: Modality, modality: Modality) -> None:
    if reads != modality:
        raise UsageError(
            f"{settings.backbone} reads {reads.mass}, {settings.place} holds {modality.mass}",
            f"choose a backbone for {modality.mass}, such as {modality.preset}",
        )


_TELEPHONE_HZ, _SCRIPT_ROWS, _SMALL_WRITER = 12_000, 2_000, 256
_LORA_FASTER = 10.0
_COMMON_SIDES = (32, 64, 96, 128, 160, 192, 224)


def _small_side(data: Splits) -> int | None:
    """The usual side next to the pictures' own, for sets of small pictures; None where most are larger than 224 pixels."""
    import numpy as np

    rows = data["train"] if "train" in data else data["unlabelled"]
    if not {"width", "height"} <= set(rows.column_names):
        return None
    shorter_N = np.minimum(np.array(rows["width"]), np.array(rows["height"]))
    typical = float(np.median(shorter_N))
    return None if typical > _COMMON_SIDES[-1] else min(_COMMON_SIDES, key=lambda side: abs(side - typical))


def _rate_for(backbone: str, data: Splits) -> int | None:
    """The one rate in Hz that a preset hears; else 8,000 where most clips have no more than that and 16,000 where they have;
    None where the data does not tell.
    """
    import numpy as np

    from pretune.backbones.presets.audio import only_rate_of
    from pretune.backbones.presets.named import SCRATCH

    if only := only_rate_of(backbone.removeprefix(SCRATCH)):
        return only
    rows = data["train"] if "train" in data else data["unlabelled"]
    if "rate" not in rows.column_names:
        return None
    return 8_000 if float(np.median(np.array(rows["rate"]))) <= _TELEPHONE_HZ else 16_000


def default_learning_rate(backbone: Backbone, adapt: str, *, masked: bool) -> float:
    """Larger for smaller models: 5e-5 at 768 wide when pre-trained and 7e-4 at 128, where 3e-4 was too low (docs/decisions.md, D254); ten
    times that of wide ones for fresh weights.

    Turc et al. 2019 (arXiv 1908.08962, appendix A) tune 3e-4 to 3e-5 for these sizes; 1e-3 for a head alone. Low rank learns with ten times
    the rate of full fine-tuning (Biderman et al. 2024, arXiv 2405.09673, section 4.5), 1e-3 at most. A convolutional net on spectra begins
    with 2e-3 (docs/decisions.md, D225).
    """
    if backbone.modality is Modality.IMAGE:
        return _image_learning_rate(backbone, adapt)
    width = int(getattr(backbone.config, "hidden_size", 768))
    if backbone.modality is Modality.AUDIO and backbone.kind == "scratch":
        return 2e-3 if hasattr(backbone.config, "hidden_sizes") else 7e-4 * (128 / width) ** 0.5
    if backbone.kind == "scratch" or masked:
        return min(1e-3, 5e-4 * (512 / width) ** 0.5) if backbone.kind == "scratch" else 1e-4 * (768 / width) ** 0.5
    if adapt == "head":
        return 1e-3
    full = min(1e-3, 5e-5 * (768 / width) ** 1.5)
    return min(1e-3, _LORA_FASTER * full) if adapt == "lora" else full


def _image_learning_rate(backbone: Backbone, adapt: str) -> float:
    """AdamW on pictures: 1e-3 for fresh weights and heads, 3e-4 for a trained convolutional net, 1e-4 for a trained ViT."""
    if backbone.kind == "scratch" or adapt == "head":
        return 1e-3
    full = 1e-4 if hasattr(backbone.config, "num_attention_heads") else 3e-4
    return min(1e-3, _LORA_FASTER * full) if adapt == "lora" else full
