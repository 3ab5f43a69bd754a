"""``python -m acceptance.copies WAVES FSDD OUT --clips N``: test clips made again of their own log-mel frames, by a WaveNet and by Griffin-Lim."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from acceptance.digits import rows_of
from pretune.backbones.audio.gated_convolutions import codes_of
from pretune.backbones.audio.sampler import Sampler
from pretune.backbones.audio.vocoder import vocoder_in
from pretune.backbones.load import load_backbone
from pretune.backbones.own import mel_of
from pretune.data.media.audio import decode_audio
from pretune.modalities.audio.mel import MelSpec, trimmed

_TOGETHER = 20


def main() -> None:
    """Write OUT/true, OUT/griffin-lim and OUT/wavenet with a manifest each for recognition, and print how fast and how near they were made."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.copies", description=__doc__)
    parser.add_argument("waves", help="a run of pretune pretrain scratch:wavenet-...")
    parser.add_argument("fsdd", type=Path, help="folder with test.jsonl and the clips")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--clips", type=int, required=True, help="clips, evenly spread over the test clips")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    mel = mel_of(load_backbone(asked.waves).config)
    rows = rows_of(asked.fsdd / "test.jsonl")
    rows = [rows[place] for place in np.linspace(0, len(rows) - 1, asked.clips).astype(int)]
    true = [trimmed(decode_audio({"bytes": None, "path": str(asked.fsdd / row["audio_filepath"])}, mel.rate), mel.rate) for row in rows]  # fmt: skip
    frames = [mel.of(clip_T) for clip_T in true]
    drawn, speed = _drawn(asked.waves, mel, frames)
    made = {"true": true, "griffin-lim": [mel.sound(one) for one in frames], "wavenet": drawn}
    for name, clips in made.items():
        _write(asked.out / name, rows, clips, mel.rate)
    apart = {name: _apart(mel, frames, clips) for name, clips in made.items() if name != "true"}
    told = {"clips": len(rows), **speed, "log_mel_apart": apart, "cached_apart": _cached_apart(asked.waves, true[0], frames[0], torch.float32), "cached_apart_exact": _cached_apart(asked.waves, true[0], frames[0], torch.float64)}  # fmt: skip
    sys.stdout.write(json.dumps(told) + "\n")


def _drawn(waves: str, mel: MelSpec, frames: list[np.ndarray]) -> tuple[list[np.ndarray], dict[str, float]]:
    """Clips by the WaveNet, and samples a second of one thread: of one clip, and of clips drawn together."""
    vocoder = vocoder_in(waves, mel)
    began = time.perf_counter()
    alone = vocoder.sounds(frames[:1], [0])
    speed = {"samples_a_second_alone": sum(map(len, alone)) / (time.perf_counter() - began)}
    order = np.argsort([len(one) for one in frames], kind="stable")
    drawn: dict[int, np.ndarray] = {}
    began = time.perf_counter()
    for start in range(0, len(order), _TOGETHER):
        places = [int(place) for place in order[start : start + _TOGETHER]]
        drawn.update(zip(places, vocoder.sounds([frames[place] for place in places], places), strict=True))
    speed["samples_a_second"] = sum(map(len, drawn.values())) / (time.perf_counter() - began)
    return [drawn[place] for place in range(len(frames))], speed


def _write(folder: Path, rows: list[dict[str, Any]], clips: list[np.ndarray], rate: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (row, clip_T) in enumerate(zip(rows, clips, strict=True)):
        soundfile.write(folder / f"{number}.wav", clip_T, rate, subtype="PCM_16")
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "text": row["text"]}))
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _apart(mel: MelSpec, frames: list[np.ndarray], clips: list[np.ndarray]) -> float:
    """The mean distance of log-mel frames from those that the clips were made of."""
    made = [mel.of(clip_T)[: len(true_FM)] for clip_T, true_FM in zip(clips, frames, strict=True)]
    return float(np.mean([np.abs(one - true[: len(one)]).mean() for one, true in zip(made, frames, strict=True)]))


def _cached_apart(waves: str, clip_T: np.ndarray, frames_FM: np.ndarray, dtype: torch.dtype) -> float:
    """The largest difference between the logits of the whole network and those made sample by sample, on a true clip, in numbers of ``dtype``."""
    network = load_backbone(waves).build("AutoModel", seed=0)[0].eval().wavenet.to(dtype)
    codes_BT = codes_of(torch.from_numpy(clip_T)[None], network.codes)
    frames_BFM, given_B = torch.from_numpy(frames_FM)[None].to(dtype), torch.ones(1, dtype=torch.bool)
    with torch.inference_mode():
        whole = network.logits(network.states(network.before(codes_BT), frames_BFM, given_B)).numpy()
        stepwise = Sampler.of(network).logits(codes_BT.numpy(), network.heard(frames_BFM, given_B).numpy())
    return float(np.abs(whole - stepwise).max())


if __name__ == "__main__":
    main()
