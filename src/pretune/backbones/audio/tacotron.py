"""Tacotron 2 in plain PyTorch (Shen et al. 2018, arXiv 1712.05884): letters to log-mel frames, some at a step, with a voice.

Norms run over the channels of a place, never over time or rows, so that padding and neighbours change nothing.
Shapes: B rows of a batch, L letters, C channels of a letter's state, S decoder steps, R frames of a step, F = S x R frames, M mel bands,
P units of the pre-net.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

__all__ = ["Decoded", "DecoderState", "Tacotron"]


class Decoded(NamedTuple):
    """Frames before and behind the post-net (B, F, M), logits of "this step is the last" (B, S), attention (B, S, L)."""

    before_BFM: torch.Tensor
    after_BFM: torch.Tensor
    stop_BS: torch.Tensor
    attention_BSL: torch.Tensor


class DecoderState(NamedTuple):
    """What a step hands on: both cells' states, what was attended to, the attention of the last step and of all steps summed."""

    query: torch.Tensor
    query_cell: torch.Tensor
    decoder: torch.Tensor
    decoder_cell: torch.Tensor
    context: torch.Tensor
    last_BL: torch.Tensor
    sum_BL: torch.Tensor


class _Conv(nn.Module):
    """A convolution over time with a norm of each place's channels."""

    def __init__(self, inner: int, outer: int, width: int, dropout: float, activation: Callable[[torch.Tensor], torch.Tensor] | None) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv1d(inner, outer, width, padding=width // 2)
        self.norm = nn.LayerNorm(outer)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, values_BTC: torch.Tensor, mask_BT1: torch.Tensor) -> torch.Tensor:
        made = self.norm(self.conv((values_BTC * mask_BT1).transpose(1, 2)).transpose(1, 2))
        return self.dropout(made if self.activation is None else self.activation(made))


class Tacotron(nn.Module):
    """``config`` is that of :mod:`pretune.backbones.own`; embeddings of letters and voices are given."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        size, inner, self.bands, self.step = (
            config.hidden_size,
            config.decoder_size,
            config.bands,
            config.frames_per_step,
        )
        self.units, self.prenet_dropout = config.prenet_size, config.prenet_dropout
        drop = config.dropout
        self.encoder = nn.ModuleList(_Conv(size, size, 5, drop, functional.relu) for _ in range(3))
        self.reader = nn.LSTM(size, size // 2, batch_first=True, bidirectional=True)
        memory = size + config.voice_size
        self.prenet = nn.ModuleList([nn.Linear(self.bands, self.units), nn.Linear(self.units, self.units)])
        self.query_cell = nn.LSTMCell(self.units + memory, inner)
        self.decoder_cell = nn.LSTMCell(inner + memory, inner)
        self.of_query = nn.Linear(inner, config.attention_size, bias=False)
        self.of_memory = nn.Linear(memory, config.attention_size)
        width = config.location_width
        self.location = nn.Conv1d(2, config.location_filters, width, padding=width // 2, bias=False)
        self.of_location = nn.Linear(config.location_filters, config.attention_size, bias=False)
        self.energy = nn.Linear(config.attention_size, 1, bias=False)
        self.frames = nn.Linear(inner + memory, self.bands * self.step)
        self.stop = nn.Linear(inner + memory, 1)
        sizes = [self.bands, *[config.postnet_size] * (config.num_postnet_layers - 1), self.bands]
        tanh = [torch.tanh] * (len(sizes) - 2) + [None]
        self.postnet = nn.ModuleList(
            _Conv(a, b, 5, drop, act) for a, b, act in zip(sizes[:-1], sizes[1:], tanh, strict=True)
        )
        self.query_dropout, self.decoder_dropout = nn.Dropout(config.state_dropout), nn.Dropout(config.state_dropout)

    def read(
        self, letters_BLC: torch.Tensor, mask_BL: torch.Tensor, voice_BV: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What letters are attended to as (B, L, C) and by (B, L, A)."""
        letters_BLC = self._convolved(letters_BLC, mask_BL)
        lengths = mask_BL.sum(dim=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(letters_BLC, lengths, batch_first=True, enforce_sorted=False)
        read_BLC, _ = nn.utils.rnn.pad_packed_sequence(self.reader(packed)[0], batch_first=True, total_length=mask_BL.shape[1])  # fmt: skip
        return self._said_by(read_BLC, voice_BV)

    def read_whole(self, letters_BLC: torch.Tensor, voice_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """:meth:`read` of rows that are all of one length, as a graph can be made of it."""
        mask_BL = torch.ones_like(letters_BLC[..., 0], dtype=torch.bool)
        return self._said_by(self.reader(self._convolved(letters_BLC, mask_BL))[0], voice_BV)

    def _convolved(self, letters_BLC: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        mask_BL1 = mask_BL[..., None].to(letters_BLC.dtype)
        for layer in self.encoder:
            letters_BLC = layer(letters_BLC, mask_BL1)
        return letters_BLC

    def _said_by(self, read_BLC: torch.Tensor, voice_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        memory_BLC = torch.cat([read_BLC, voice_BV[:, None].expand(-1, read_BLC.shape[1], -1)], dim=-1)
        return memory_BLC, self.of_memory(memory_BLC)

    def prepared(self, frames: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
        """The pre-net's (..., P) of frames (..., M); ``keep`` (..., 2, P) says which units stay, drawn by the caller; without it they are
        drawn while learning, and else all stay.
        """
        for number, layer in enumerate(self.prenet):
            frames = functional.relu(layer(frames))
            if keep is not None:
                frames = frames * keep[..., number, :] / (1 - self.prenet_dropout)
            else:
                frames = functional.dropout(frames, self.prenet_dropout, self.training)
        return frames

    def start(self, memory_BLC: torch.Tensor) -> DecoderState:
        """The state before the first step."""
        rows, letters, channels = memory_BLC.shape
        sizes = [self.query_cell.hidden_size] * 4 + [channels, letters, letters]
        return DecoderState._make(memory_BLC.new_zeros(rows, size) for size in sizes)

    def attend(
        self, prepared_BP: torch.Tensor, state: DecoderState, memory_BLC: torch.Tensor, keys_BLA: torch.Tensor, mask_BL: torch.Tensor
    ) -> tuple[DecoderState, torch.Tensor]:  # fmt: skip
        """One step: the new state, and what frames and stop are made of (B, H + C)."""
        query, query_cell = self.query_cell(torch.cat([prepared_BP, state.context], dim=-1), (state.query, state.query_cell))  # fmt: skip
        query = self.query_dropout(query)
        places_BLA = self.of_location(self.location(torch.stack([state.last_BL, state.sum_BL], dim=1)).transpose(1, 2))
        energies_BL = self.energy(torch.tanh(self.of_query(query)[:, None] + keys_BLA + places_BLA))[..., 0]
        weights_BL = torch.softmax(energies_BL.masked_fill(~mask_BL, -1e9), dim=-1)
        context_BC = torch.bmm(weights_BL[:, None], memory_BLC)[:, 0]
        decoder, decoder_cell = self.decoder_cell(torch.cat([query, context_BC], dim=-1), (state.decoder, state.decoder_cell))  # fmt: skip
        decoder = self.decoder_dropout(decoder)
        state = DecoderState(
            query, query_cell, decoder, decoder_cell, context_BC, weights_BL, state.sum_BL + weights_BL
        )
        return state, torch.cat([decoder, context_BC], dim=-1)

    def polished(self, frames_BFM: torch.Tensor, mask_BF: torch.Tensor) -> torch.Tensor:
        """Frames with what the post-net adds to them."""
        added, mask_BF1 = frames_BFM, mask_BF[..., None].to(frames_BFM.dtype)
        for layer in self.postnet:
            added = layer(added, mask_BF1)
        return frames_BFM + added

    def forced(
        self, memory_BLC: torch.Tensor, keys_BLA: torch.Tensor, mask_BL: torch.Tensor, frames_BFM: torch.Tensor,
        frame_mask_BF: torch.Tensor, keep: torch.Tensor | None,
    ) -> Decoded:  # fmt: skip
        """Each step told the true frame before it. F is a multiple of R."""
        before_BSM = functional.pad(frames_BFM[:, self.step - 1 : -1 : self.step], (0, 0, 1, 0))
        prepared_BSP = self.prepared(before_BSM, keep)
        state, made, weights = self.start(memory_BLC), [], []
        for prepared_BP in prepared_BSP.unbind(dim=1):
            state, features = self.attend(prepared_BP, state, memory_BLC, keys_BLA, mask_BL)
            made.append(features)
            weights.append(state.last_BL)
        features_BSH = torch.stack(made, dim=1)
        said_BFM = self.frames(features_BSH).reshape(len(features_BSH), -1, self.bands)
        stop_BS = self.stop(features_BSH)[..., 0]
        return Decoded(said_BFM, self.polished(said_BFM, frame_mask_BF), stop_BS, torch.stack(weights, dim=1))

    def free(
        self, memory_BLC: torch.Tensor, keys_BLA: torch.Tensor, mask_BL: torch.Tensor, most_steps_B: torch.Tensor,
        draw: Callable[[int], torch.Tensor],
    ) -> tuple[Decoded, torch.Tensor]:  # fmt: skip
        """Frames from the model's own, until each row stops or has its most steps; and the steps (B,) of each row.

        ``draw(step)`` says which units of the pre-net stay, (B, 2, P).
        """
        rows = len(memory_BLC)
        state, frame_BM = self.start(memory_BLC), memory_BLC.new_zeros(rows, self.bands)
        steps_B = torch.zeros(rows, dtype=torch.long, device=memory_BLC.device)
        frames, stops, weights = [], [], []
        going_B = steps_B < most_steps_B
        while bool(going_B.any()):
            prepared_BP = self.prepared(frame_BM, draw(len(frames)))
            state, features = self.attend(prepared_BP, state, memory_BLC, keys_BLA, mask_BL)
            said_BRM = self.frames(features).reshape(rows, self.step, self.bands)
            frame_BM, stop_B = said_BRM[:, -1], self.stop(features)[:, 0]
            frames.append(said_BRM)
            stops.append(stop_B)
            weights.append(state.last_BL)
            steps_B = steps_B + going_B.long()
            going_B = going_B & (stop_B < 0) & (steps_B < most_steps_B)
        before_BFM = torch.cat(frames, dim=1)
        mask_BF = torch.arange(before_BFM.shape[1], device=steps_B.device)[None] < (steps_B * self.step)[:, None]
        found = Decoded(before_BFM, self.polished(before_BFM, mask_BF), torch.stack(stops, dim=1), torch.stack(weights, dim=1))  # fmt: skip
        return found, steps_B
