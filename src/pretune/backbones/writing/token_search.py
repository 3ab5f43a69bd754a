"""How a text is written token by token where a graph tells what may follow; also used by exported models (numpy alone).

Greedy search and beams are those of transformers' ``generate`` (its ``_sample`` and ``_beam_search``, version 5), so that a graph writes
what the model wrote that it was made from; no row depends on the rows beside it. Shapes: B texts, K beams of each, R rows of a step, L
tokens of a step, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Search", "State", "Steps", "own_tokens", "search_tokens"]

State: TypeAlias = Mapping[str, np.ndarray]
"""What a step reads beside its tokens, by the names of the graph's inputs: rows first."""
Noise: TypeAlias = Callable[[np.ndarray, int, int], np.ndarray]

_NEVER = np.float32(-1e9)
"""The score that transformers gives what is not there yet."""


@dataclass(frozen=True)
class Search:
    """A text ends with a token of ``ends``; where it ``ends_at_limit`` that is the last one that its limit leaves room for, and no token
    else. Tokens of ``barred`` are never written, ``first`` is the first of every text, no ``no_repeat_ngram`` tokens come twice.

    With a ``temperature`` tokens are drawn: from the ``top_k`` likeliest (0: all) that make up the share ``top_p``.
    """

    ends: Sequence[int]
    ends_at_limit: bool = False
    beam_size: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    first: int | None = None
    barred: Sequence[int] = ()
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0


class Steps:
    """The graphs of a model that writes, as sessions of ONNX Runtime: a step with the keys and values of the tokens before it, and of an
    encoder-decoder what reads the source and gives the keys and values of cross attention.
    """

    def __init__(self, step: Any, encoder: Any = None) -> None:
        self._step, self._encoder = step, encoder
        self._inputs = {one.name: one.shape for one in step.get_inputs()}
        self._outputs = [one.name for one in step.get_outputs()]
        self.reads = "input_ids" if encoder is None else "decoder_input_ids"

    def opened(self, ids_BT: np.ndarray, mask_BT: np.ndarray) -> State:
        """The state before the first token: nothing is kept yet, a source is read."""
        state = {
            name: np.zeros((len(ids_BT), shape[1], 0, shape[3]), dtype=np.float32)
            for name, shape in self._inputs.items()
            if name.startswith("past_")
        }
        if self._encoder is None:
            return {**state, "attention_mask": mask_BT[:, :0]}
        read = self._encoder.run(None, {"input_ids": ids_BT, "attention_mask": mask_BT})
        names = [one.name for one in self._encoder.get_outputs()]
        return {**state, **dict(zip(names, read, strict=True)), "attention_mask": mask_BT}

    def begin(self, ids_BT: np.ndarray, mask_BT: np.ndarray, first_BL: np.ndarray | None = None) -> tuple[np.ndarray, State]:  # fmt: skip
        """Logits (B, L, V) and the state behind the tokens of a prompt, padded on the left; of an encoder-decoder, which reads a source, behind
        the first tokens that it writes.
        """
        state = self.opened(ids_BT, mask_BT)
        return self.step(ids_BT, state, mask_BT) if first_BL is None else self.step(first_BL, state)

    def step(self, ids_RL: np.ndarray, state: State, mask_RL: np.ndarray | None = None) -> tuple[np.ndarray, State]:
        """Logits (R, L, V) and the state behind these tokens; ``mask_RL`` says which are padding, where some are."""
        feed = self.feed(ids_RL, state, mask_RL)
        logits, *presents = self._step.run(self._outputs, {name: feed[name] for name in self._inputs})
        names = [name.replace("present_", "past_") for name in self._outputs[1:]]
        return logits, {**state, "attention_mask": feed["attention_mask"], **dict(zip(names, presents, strict=True))}

    def feed(self, ids_RL: np.ndarray, state: State, mask_RL: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What a step is given, and more."""
        feed = {**state, self.reads: ids_RL}
        if self._encoder is None:
            added_RL = np.ones_like(ids_RL) if mask_RL is None else mask_RL
            mask_RT = feed["attention_mask"] = np.concatenate([state["attention_mask"], added_RL], axis=1)
            feed["position_ids"] = np.maximum(mask_RT.cumsum(axis=1) - 1, 0)[:, -ids_RL.shape[1] :]
        return feed


def own_tokens(ids: Sequence[int], ends: Sequence[int], first: int | None = None) -> list[int]:
    """The tokens before the end mark, without the first one where all texts begin with the same."""
    count = next((place for place, one in enumerate(ids) if one in ends), len(ids))
    return list(ids[0 if first is None else 1 : count])


def search_tokens(
    steps: Steps, begun: tuple[np.ndarray, State], how: Search, limits_B: Sequence[int], *,
    before: Sequence[Sequence[int]], noise: Noise | None = None, stops: Callable[[int, list[int]], bool] | None = None,
) -> list[list[int]]:  # fmt: skip
    """The tokens of each text, its end mark among them where it ended; ``begun`` is what :meth:`Steps.begin` gave.

    ``before`` are the tokens that each is written behind. ``noise`` gives of rows (B,), a step and V what is added to their scores (B, V)
    where tokens are drawn; ``stops`` says of a row and its tokens whether it ends there.
    """
    logits_BV, state = begun[0][:, -1].astype(np.float32), begun[1]
    if how.beam_size > 1:
        return _by_beams(steps, logits_BV, state, how, limits_B, before)
    written: list[list[int]] = [[] for _ in limits_B]
    rows: list[int] = list(range(len(written)))
    while True:
        scores = _adjusted(logits_BV, how, [[*before[row], *written[row]] for row in rows], [len(written[row]) for row in rows], [limits_B[row] for row in rows])  # fmt: skip
        if how.temperature > 0 and noise is not None:
            step = len(written[rows[0]])
            scores = _warped(scores, how) + noise(np.array(rows), step, scores.shape[1]).astype(np.float32)
        tokens = scores.argmax(axis=1)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            written[row].append(token)
        going = [place for place, row in enumerate(rows) if _goes_on(row, written[row], how, limits_B, stops)]
        if not going:
            return written
        if len(going) < len(rows):
            rows, tokens, state = [rows[place] for place in going], tokens[going], _picked(state, going)
        logits, state = steps.step(tokens[:, None], state)
        logits_BV = logits[:, -1].astype(np.float32)


def _goes_on(
    row: int, ids: list[int], how: Search, limits_B: Sequence[int], stops: Callable[[int, list[int]], bool] | None
) -> bool:
    return ids[-1] not in how.ends and len(ids) < limits_B[row] and not (stops is not None and stops(row, ids))


def _picked(state: State, rows: Any) -> State:
    return {name: value[rows] for name, value in state.items()}


def _adjusted(
    scores_RV: np.ndarray, how: Search, ids: Sequence[Sequence[int]], written: Sequence[int], limits: Sequence[int]
) -> np.ndarray:
    """Scores in which what may not follow is at minus infinity."""
    scores_RV = scores_RV.copy()
    size = how.no_repeat_ngram
    for row, tokens in enumerate(ids):
        if size and len(tokens) + 1 >= size:
            last = tuple(tokens[len(tokens) - size + 1 :])
            repeated = [tokens[at + size - 1] for at in range(len(tokens) - size + 1) if tuple(tokens[at : at + size - 1]) == last]  # fmt: skip
            scores_RV[row, repeated] = -np.inf
        if how.first is not None and written[row] == 0:
            scores_RV[row] = -np.inf
            scores_RV[row, how.first] = 0.0
        if how.ends_at_limit and written[row] + 1 >= limits[row]:
            kept = scores_RV[row, list(how.ends)]
            scores_RV[row] = -np.inf
            scores_RV[row, list(how.ends)] = kept
    if len(how.barred):
        scores_RV[:, list(how.barred)] = -np.inf
    return scores_RV


def _warped(scores_RV: np.ndarray, how: Search) -> np.ndarray:
    """Scores divided by the temperature, those outside of ``top_k`` and ``top_p`` at minus infinity."""
    scores_RV = scores_RV / np.float32(how.temperature)
    if how.top_k:
        least_R1 = np.sort(scores_RV, axis=1)[:, -min(how.top_k, scores_RV.shape[1])][:, None]
        scores_RV = np.where(scores_RV < least_R1, np.float32(-np.inf), scores_RV)
    if how.top_p < 1:
        order_RV = np.argsort(scores_RV, axis=1, kind="stable")
        sorted_RV = np.take_along_axis(scores_RV, order_RV, axis=1)
        out_RV = np.exp(_log_shares(sorted_RV)).cumsum(axis=1) <= np.float32(1 - how.top_p)
        out_RV[:, -1] = False
        is_out_RV = np.zeros_like(out_RV)
        np.put_along_axis(is_out_RV, order_RV, out_RV, axis=1)
        scores_RV = np.where(is_out_RV, np.float32(-np.inf), scores_RV)
    return scores_RV


def _log_shares(logits_RV: np.ndarray) -> np.ndarray:
    shifted_RV = logits_RV - logits_RV.max(axis=1, keepdims=True)
    return shifted_RV - np.log(np.exp(shifted_RV).sum(axis=1, keepdims=True))


class _Beams:
    """The beams of one text: those that are written on, and the best that have ended."""

    def __init__(self, how: Search, limit: int, before: Sequence[int]) -> None:
        count = how.beam_size
        self.how, self.limit, self.before = how, limit, list(before)
        self.running: list[list[int]] = [[] for _ in range(count)]
        self.scores_K = np.full(count, _NEVER, dtype=np.float32)
        self.scores_K[0] = 0.0
        self.ended: list[list[int]] = [[] for _ in range(count)]
        self.ended_scores_K = np.full(count, _NEVER, dtype=np.float32)
        self.has_ended_K = np.zeros(count, dtype=bool)

    def take(self, shares_KV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step on: of each beam what stands before it now (its number among those before) and its last token."""
        how, count, vocabulary = self.how, self.how.beam_size, shares_KV.shape[1]
        length = len(self.running[0])
        ids = [[*self.before, *one] for one in self.running]
        shares_KV = _adjusted(shares_KV, how, ids, [length] * count, [self.limit] * count)
        sums_N = (shares_KV + self.scores_K[:, None]).ravel()
        best_M = _largest(sums_N, max(2, 1 + len(how.ends)) * count)
        found = [[*self.running[place // vocabulary], int(place % vocabulary)] for place in best_M]
        is_end_M = np.array([one[-1] in how.ends for one in found]) | (length + 1 >= self.limit)
        scores_M = sums_N[best_M]
        self._end(found, scores_M, is_end_M, length + 1)
        going_M = scores_M + is_end_M.astype(np.float32) * _NEVER
        kept_K = _largest(going_M, count)
        self.running, self.scores_K = [found[place] for place in kept_K], going_M[kept_K]
        return best_M[kept_K] // vocabulary, best_M[kept_K] % vocabulary

    def _end(self, found: list[list[int]], scores_M: np.ndarray, is_end_M: np.ndarray, length: int) -> None:
        """Keep the best of those that ended before and those of the first K that end now."""
        count = self.how.beam_size
        ends_M = is_end_M & (np.arange(len(found)) < count)
        with np.errstate(invalid="ignore"):
            scores_M = scores_M / np.float32(length**self.how.length_penalty) + np.where(ends_M, np.float32(0), _NEVER)
        scores = np.concatenate([self.ended_scores_K, scores_M])
        kept = _largest(scores, count)
        together, has_ended = [*self.ended, *found], np.concatenate([self.has_ended_K, ends_M])
        self.ended, self.ended_scores_K, self.has_ended_K = [together[place] for place in kept], scores[kept], has_ended[kept]  # fmt: skip

    @property
    def is_done(self) -> bool:
        """Can no beam that is written on become better than the worst that has ended?"""
        length = len(self.running[0])
        if length >= self.limit:
            return True
        possible = self.scores_K[0] / np.float32(length**self.how.length_penalty)
        worst_K = np.where(self.has_ended_K, self.ended_scores_K.min(), _NEVER)
        return not bool((possible > worst_K).any())


def _largest(values_N: np.ndarray, count: int) -> np.ndarray:
    """The places of the largest values, the largest first, the first of equals before the others."""
    return np.argsort(-values_N, kind="stable")[:count]


def _by_beams(
    steps: Steps, logits_BV: np.ndarray, state: State, how: Search, limits_B: Sequence[int], before: Sequence[Sequence[int]]
) -> list[list[int]]:  # fmt: skip
    texts = [_Beams(how, limit, ids) for limit, ids in zip(limits_B, before, strict=True)]
    open_texts, count = [*texts], how.beam_size
    rows_R = np.repeat(np.arange(len(texts)), count)
    logits_RV, state = logits_BV[rows_R], _picked(state, rows_R)
    while True:
        shares_RV = _log_shares(logits_RV)
        going, rows, tokens = [], [], []
        for place, text in enumerate(open_texts):
            from_K, token_K = text.take(shares_RV[place * count : (place + 1) * count])
            if not text.is_done:
                going.append(text)
                rows.append(place * count + from_K)
                tokens.append(token_K)
        if not going:
            return [text.ended[0] for text in texts]
        open_texts = going
        logits, state = steps.step(np.concatenate(tokens)[:, None], _picked(state, np.concatenate(rows)))
        logits_RV = logits[:, -1].astype(np.float32)
