"""Several objectives at once on one trunk (``--mix``): a term of the loss for each, times its share. Each draws all rows, in an
order of its own.

Shapes: N rows, K statistics of all parts, k of one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np
import torch

from pretune.backbones.states.shared_trunk import SharedTrunk
from pretune.engine.batching import Stream
from pretune.errors import UsageError, did_you_mean
from pretune.objectives.listing import PRETRAININGS, check_settings, find_pretraining
from pretune.objectives.pretraining import Measure, Pretraining
from pretune.tasks.protocols import EncodedRows
from pretune.types import TERM, Batch, Feed, Loss

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.engine.devices import Device

__all__ = ["Mixed", "shares_of", "start_pretraining"]

_EXAMPLE = "masked-text=0.7,contrastive-text=0.3"


def shares_of(mix: str, modality: str) -> dict[str, float]:
    """Objectives (words of :data:`PRETRAININGS`; ``masked`` is the one of the modality) and their shares, which sum to 1.

    Raises :class:`UsageError` for what is no objective or no share, for one named twice, and for fewer than two.
    """
    found: dict[str, float] = {}
    for part in mix.split(","):
        word, _, told = part.strip().partition("=")
        name = word if word in PRETRAININGS else f"{word}-{modality}"
        if name not in PRETRAININGS:
            raise UsageError(f"--mix names {word!r}, which is no objective", did_you_mean(word, PRETRAININGS))
        try:
            share = float(told)
        except ValueError:
            share = -1.0
        if not 0 < share < float("inf"):
            raise UsageError(f"--mix gives {word} the share {told!r}", f"a share is a number above 0: {_EXAMPLE}")
        if name in found:
            raise UsageError(f"--mix names {name} twice", f"name each objective once: {_EXAMPLE}")
        found[name] = share
    if len(found) < 2:
        raise UsageError(f"--mix names {', '.join(found)} alone", f"name two or more ({_EXAMPLE}), or use --objective")
    return {name: share / sum(found.values()) for name, share in found.items()}


def start_pretraining(data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> Pretraining:
    """What ``--objective`` or ``--mix`` ask for, before anything is learned. Raises :class:`pretune.errors.PretuneError`."""
    if settings.mix:
        return Mixed.start(data, backbone, settings, seed=seed)
    kind = find_pretraining(backbone, settings.objective)
    check_settings(settings, kind)
    return kind.start(data, backbone, settings, seed=seed)


class _MixedRows:
    """Encoded rows of several objectives; by number those of the first."""

    def __init__(self, parts: Mapping[str, EncodedRows]) -> None:
        self.parts = parts
        self.first = next(iter(parts.values()))
        self.lengths_N = self.first.lengths_N
        self.ledger = self.first.ledger

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> Any:
        return self.first[index]


@final
class Mixed(Pretraining):
    """``parts`` by their word, each with a model of its own, whose trunks are made one; ``shares`` are what their losses count for.

    The first part decides what is kept: its model is saved, and its score chooses the best evaluation.
    Raises :class:`pretune.errors.ModelError` where their models have no trunk in common.
    """

    name: ClassVar[str] = "mixed"

    def __init__(self, parts: Mapping[str, Pretraining], shares: Mapping[str, float]) -> None:
        self.parts = dict(parts)
        self.first = next(iter(parts.values()))
        self.model = self.shared = SharedTrunk({name: part.model for name, part in parts.items()})
        self.report = self.first.report
        self.primary = self._score(*next((name, part.primary) for name, part in parts.items()))
        self.specs = {self._score(name, score): spec for name, part in parts.items() for score, spec in part.specs.items()}  # fmt: skip
        self.default_epochs = self.first.default_epochs
        self.default_batch_size = self.first.default_batch_size
        self.reading = " ".join(part.reading for part in parts.values())
        self.weights = {_term(name, term): shares[name] * weight for name, part in parts.items() for term, weight in part.weights.items()}  # fmt: skip
        self.log_names = tuple(f"{name}.{log}" for name, part in parts.items() for log in part.log_names)

    @property
    def title(self) -> str:
        """Every part's."""
        return " + ".join(self.parts)

    @classmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> Self:
        """See :class:`Pretraining`. Raises :class:`UsageError` for ``--objective`` beside ``--mix``."""
        if settings.objective != "auto":
            raise UsageError("--objective and --mix both say what to learn", "leave one of them out")
        shares = shares_of(settings.mix, backbone.modality)
        kinds = {name: find_pretraining(backbone, name) for name in shares}
        check_settings(settings, *kinds.values())
        return cls({name: kind.start(data, backbone, settings, seed=seed) for name, kind in kinds.items()}, shares)

    def _score(self, part: str, score: str) -> str:
        """A score's name: its part stands before it where another part has one of that name."""
        shared = sum(score in one.specs for one in self.parts.values()) > 1
        return f"{part.replace('-', '_')}_{score}" if shared else score

    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> _MixedRows:
        """Each part's own; parts that read rows alike share what is kept on disk."""
        return _MixedRows({name: part.encode_rows(dataset, fingerprint=fingerprint) for name, part in self.parts.items()})  # fmt: skip

    def begin(self, rows: EncodedRows, *, fingerprint: str) -> str:
        """What each part counts in the rows."""
        told = [part.begin(own, fingerprint=fingerprint) for part, own in self._own(rows)]
        return "; ".join(one for one in told if one)

    def _own(self, rows: EncodedRows) -> list[tuple[Pretraining, EncodedRows]]:
        assert isinstance(rows, _MixedRows), "they were encoded here"
        return [(part, rows.parts[name]) for name, part in self.parts.items()]

    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """Every part's, under its word."""
        found = {}
        for (name, part), (_, own) in zip(self.parts.items(), self._own(rows), strict=True):
            part.adaptation = self.adaptation
            for feed, stream in part.streams(own, batch_size=batch_size, group_by_length=group_by_length).items():
                found[f"{name}.{feed}"] = dataclasses.replace(stream, collate=_named(name, part, stream.collate))
        return found

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """As each part asks."""
        for name, part in self.parts.items():
            part.prepare(self.shared.of(name), progress)
        self.adaptation.train(model, progress)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """Each part's terms, under its word."""
        assert isinstance(model, SharedTrunk), "it learns what start() made"
        terms: dict[str, torch.Tensor] = {}
        log: dict[str, float] = {}
        for name, part in self.parts.items():
            own = {key.removeprefix(f"{name}."): batch for key, batch in feed.items() if key.startswith(f"{name}.")}
            found = part.loss(model.of(name), {key: _plain(name, batch) for key, batch in own.items()}, rng)
            terms |= {_term(name, term): value for term, value in found.terms.items()}
            log |= {f"{name}.{what}": value for what, value in found.log.items()}
        return Loss(terms, log)

    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, K): those of all parts, side by side."""
        counted = on_batch
        found = []
        for part, own in self._own(rows):
            found.append(part.statistics(own, device, counted))
            counted = None
        self._widths = [len(stats_Nk[0]) for stats_Nk in found]
        return np.concatenate(found, axis=1)

    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Those of all parts."""
        cuts = np.cumsum(self._widths)[:-1]
        return {
            self._score(name, score): value
            for (name, part), sums_k in zip(self.parts.items(), np.split(sums_K, cuts, axis=-1), strict=True)
            for score, value in part.scores(sums_k).items()
        }

    def measures(self, rows: EncodedRows, device: Device) -> Sequence[Measure]:
        """Those of all parts."""
        return [measure for part, own in self._own(rows) for measure in part.measures(own, device)]

    def blocks(self, rows: EncodedRows) -> list[dict[str, Any]]:
        """Those of all parts."""
        return [block for part, own in self._own(rows) for block in part.blocks(own)]

    def warnings(self) -> Sequence[str]:
        """Those of all parts."""
        return [warning for part in self.parts.values() for warning in part.warnings()]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What the parts keep beside their models."""
        return {f"{name}.{key}": value for name, part in self.parts.items() for key, value in part.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take that back."""
        for name, part in self.parts.items():
            part.load_state_dict({key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")})  # fmt: skip

    def saved(self) -> torch.nn.Module:
        """What the first part keeps, on the trunk that all learned. The parts are taken apart for it: nothing is learned after."""
        self.shared.apart()
        return self.first.saved()

    def to_dict(self) -> dict[str, Any]:
        """As of the first part: its model is what others load."""
        return self.first.to_dict()


def _term(part: str, term: str) -> str:
    """A term of a part's loss among those of all."""
    return part if term == TERM else f"{part}.{term}"


def _named(
    name: str, part: Pretraining, collate: Callable[[np.ndarray, np.ndarray], Feed]
) -> Callable[[np.ndarray, np.ndarray], Feed]:
    """Feeds and what they count under the part's word."""
    first = next(iter(part.weights))

    def named(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
        found = {}
        for feed, batch in collate(rows_R, keys_R).items():
            counts = {_term(name, term) if term in part.weights else f"{name}.{term}": count for term, count in batch.counts.items()}  # fmt: skip
            if first in batch.counts:
                counts = {**{f"{name}.{log}": batch.counts[first] for log in part.log_names}, **counts}
            found[f"{name}.{feed}"] = dataclasses.replace(batch, counts=counts)
        return found

    return named


def _plain(name: str, batch: Batch) -> Batch:
    """The batch as its objective made it."""
    counts = {TERM if term == name else term.removeprefix(f"{name}."): count for term, count in batch.counts.items()}
    return dataclasses.replace(batch, counts=counts)
