"""How much a request may ask for: every limit of the service in one place."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.data.media.audio import MAX_SECONDS
from pretune.data.media.image import MAX_PIXELS
from pretune.modalities import Modality

__all__ = ["Limits"]

_LEAST_HELD_BYTES = 2**28


@dataclass(frozen=True)
class Limits:
    """Bounds of one request and of all that are there at a time.

    ``body_bytes`` and ``rows`` bound a request, ``characters`` a text, ``clip_seconds`` a recording (pictures have
    :data:`pretune.data.media.image.MAX_PIXELS`). ``seconds`` is how long a body may take to arrive, and again how long its answer
    may take; ``explain_seconds`` how long an explanation may keep the model, which everybody else waits for; ``waiting`` how many requests are answered or wait at a time.
    """

    body_bytes: int = 16 * 2**20
    rows: int = 256
    characters: int = 100_000
    clip_seconds: float = 60.0
    seconds: float = 30.0
    explain_seconds: float = 10.0
    waiting: int = 128

    @property
    def held_bytes(self) -> int:
        """Bytes of all bodies held at a time: four of the largest, 256 MiB at least."""
        return max(_LEAST_HELD_BYTES, 4 * self.body_bytes)

    @property
    def connections(self) -> int:
        """Open connections: those that wait, and as many that only just arrive."""
        return 2 * self.waiting + 64

    def to_dict(self, modality: Modality) -> dict[str, float]:
        """What a client of a model of this modality should know."""
        own: dict[Modality, dict[str, float]] = {
            Modality.TEXT: {"characters": self.characters},
            Modality.IMAGE: {"pixels": MAX_PIXELS},
            Modality.AUDIO: {"clip_seconds": min(self.clip_seconds, MAX_SECONDS)},
        }
        return {
            "body_bytes": self.body_bytes, "rows": self.rows, "seconds": self.seconds, "explain_seconds": self.explain_seconds,
            **own[modality],
        }  # fmt: skip
