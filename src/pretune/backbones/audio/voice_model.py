"""What models of sound of our own have in common, in the form of transformers."""

from __future__ import annotations

from typing import Any

import transformers
from torch import nn

from pretune.modalities.audio.mel import MelSpec

__all__ = ["DrawnByTorch", "VoiceConfig", "VoiceModel", "default_mel"]


def default_mel() -> dict[str, Any]:
    """How spectra are made where a config does not say."""
    return MelSpec.of_rate(16_000, 80).to_dict()


class DrawnByTorch(transformers.PreTrainedModel):
    """First weights are PyTorch's own draws, made again here: transformers builds models without them."""

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]


class VoiceConfig(transformers.PreTrainedConfig):
    """Letters (``tokens``, behind them the end), voices (``speakers``), and how spectra are made (``mel``)."""

    def __init__(
        self, *, voice_size: int = 32, mel: dict[str, Any] | None = None, vocab_size: int = 4, speakers: list[str] | None = None,
        frames_per_letter: float = 8.0, **named: Any,
    ) -> None:  # fmt: skip
        self.voice_size, self.mel = voice_size, mel or default_mel()
        self.vocab_size, self.speakers, self.frames_per_letter = vocab_size, speakers or [], frames_per_letter
        super().__init__(**named)

    @property
    def bands(self) -> int:
        """Mel bands."""
        return self.mel["bands"]


class VoiceModel(DrawnByTorch):
    """Embeddings of letters and voices."""

    main_input_name = "input_ids"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.letters = nn.Embedding(config.vocab_size, config.hidden_size)
        self.voices = nn.Embedding(max(1, len(config.speakers)), config.voice_size)
