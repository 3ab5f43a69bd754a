"""Samples drawn from a WaveNet one after the other, each layer keeping what it needs of the past: as much work a sample as it has layers,
however long the clip is (Le Paine et al. 2016, arXiv 1611.09482).

NumPy alone: sixteen small products a sample are faster without a framework. Shapes: B clips at a time, T samples, R channels inside, S of
the skip sum, V codes, F frames, N layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Sampler", "sound_of"]


def sound_of(codes_T: np.ndarray, num_codes: int) -> np.ndarray:
    """Samples in [-1, 1] of mu-law codes."""
    squashed = 2 * codes_T.astype(np.float64) / (num_codes - 1) - 1
    return (np.sign(squashed) * ((num_codes ** np.abs(squashed)) - 1) / (num_codes - 1)).astype(np.float32)


class Sampler:
    """``weights`` are a WaveNet's, by name, as arrays of float32, or of float64 where rounding is to be told from what is computed."""

    def __init__(self, weights: dict[str, np.ndarray], dilations: list[int], hop: int) -> None:
        self.table_VR, self.hop, self.dilations = weights["table.weight"], hop, dilations
        self.inner = self.table_VR.shape[1]
        # A gate's sigmoid is half a hyperbolic tangent of half its number, so that one call makes both halves; the halves go into the weights.
        self.dtype = self.table_VR.dtype
        half = np.concatenate([np.ones(self.inner), np.full(self.inner, 0.5)]).astype(self.dtype)
        self.half = half
        self.taps = [
            np.ascontiguousarray((weights[f"layers.{n}.taps.weight"] * half[:, None]).T) for n in range(len(dilations))
        ]
        self.taps_bias = [weights[f"layers.{n}.taps.bias"] * half for n in range(len(dilations))]
        self.out = [np.ascontiguousarray((0.5 * weights[f"layers.{n}.out.weight"]).T) for n in range(len(dilations))]
        self.out_bias = [weights[f"layers.{n}.out.bias"] for n in range(len(dilations))]
        self.middle = (np.ascontiguousarray(weights["middle.weight"].T), weights["middle.bias"])
        self.last = (np.ascontiguousarray(weights["last.weight"].T), weights["last.bias"])

    @classmethod
    def of(cls, model: Any) -> Sampler:
        """Of a WaveNet in PyTorch, in its number format."""
        weights = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
        return cls(weights, [layer.dilation for layer in model.layers], model.hop)

    def start(self, rows: int) -> None:
        """Silence before the first sample of so many clips: what every layer keeps of the past is 0."""
        self.past = [np.zeros((dilation, rows, self.inner), dtype=self.dtype) for dilation in self.dilations]
        self.time = 0

    def step(self, before_B: np.ndarray, told_NB2: np.ndarray) -> np.ndarray:
        """Logits (B, V) of the next sample, told the codes before it and what frames tell each layer (gates halved)."""
        states_BR, total, inner = self.table_VR[before_B], 0.0, self.inner
        for number, past in enumerate(self.past):
            place = self.time % len(past)
            both = np.concatenate([past[place], states_BR], axis=1)
            past[place] = states_BR
            made = np.tanh(both @ self.taps[number] + told_NB2[number])
            out = (made[:, :inner] * (made[:, inner:] + 1.0)) @ self.out[number] + self.out_bias[number]
            states_BR = states_BR + out[:, :inner]
            total = total + out[:, inner:]
        self.time += 1
        middle = np.maximum(np.maximum(total, 0.0) @ self.middle[0] + self.middle[1], 0.0)
        return middle @ self.last[0] + self.last[1]

    def told(self, heard_BFN2: np.ndarray) -> np.ndarray:
        """What :meth:`WaveNet.heard` gave, as :meth:`step` takes it: (F, N, B, 2 R), biases in it."""
        scaled = heard_BFN2 * self.half + np.stack(self.taps_bias)
        return np.ascontiguousarray(scaled.transpose(1, 2, 0, 3).astype(self.dtype))

    def logits(self, codes_BT: np.ndarray, heard_BFN2: np.ndarray) -> np.ndarray:
        """Logits (B, T, V) of codes that are known, sample by sample: what the whole network gives at once."""
        told, (rows, length) = self.told(heard_BFN2), codes_BT.shape
        self.start(rows)
        before_B, found = np.full(rows, len(self.table_VR) // 2), []
        for time in range(length):
            found.append(self.step(before_B, told[min((time + self.hop // 2) // self.hop, len(told) - 1)]))
            before_B = codes_BT[:, time]
        return np.stack(found, axis=1)

    def draw(
        self, heard_BFN2: np.ndarray, samples: int, rngs: list[np.random.Generator], temperature: float
    ) -> np.ndarray:
        """Codes (B, T) drawn one after the other, each clip by its own generator."""
        told, rows = self.told(heard_BFN2), len(heard_BFN2)
        self.start(rows)
        before_B, found = np.full(rows, len(self.table_VR) // 2), np.empty((samples, rows), dtype=np.int64)
        uniform_TB = np.stack([rng.random(samples) for rng in rngs], axis=1)
        for time in range(samples):
            logits_BV = self.step(before_B, told[min((time + self.hop // 2) // self.hop, len(told) - 1)]) / temperature
            shares_BV = np.exp(logits_BV - logits_BV.max(axis=1, keepdims=True)).cumsum(axis=1)
            before_B = (shares_BV < uniform_TB[time][:, None] * shares_BV[:, -1:]).sum(axis=1)
            found[time] = before_B
        return found.T
