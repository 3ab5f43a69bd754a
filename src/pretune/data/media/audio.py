"""Clips: one careful look at each file, and the mono samples at a model's rate.

libsndfile (WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, AU, ...) decodes, else av where it is installed; soxr resamples.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pretune.data.media.base import BrokenMedia, Media, whole_file
from pretune.data.media.coded import CodedSound
from pretune.data.media.kinds import HEAD_BYTES
from pretune.data.media.sound import SoundSketch

if TYPE_CHECKING:
    import soundfile

__all__ = ["MAX_SECONDS", "clip_seconds", "decode_audio", "probe_audio"]

MAX_SECONDS = 3_600.0
"""Longest clip, 1 hour: 230 MB of samples at 16 kHz."""

_BLOCK_FRAMES = 2**18
_RATES_HZ = (1_000, 768_000)
_MOST_CHANNELS = 64
_CUT_OFF = re.compile(r"\bdata : (\d+) \(should be (\d+)\)")
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFE, 0xFFFFFFFE)
_SUFFIXES = {
    "WAV": (".wav",),
    "WAVEX": (".wav",),
    "RF64": (".wav",),
    "FLAC": (".flac",),
    "OGG": (".ogg", ".oga", ".opus"),
    "MP3": (".mp3",),
    "MPEG": (".mp3",),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "AU": (".au", ".snd"),
}
_CODED_SLACK_SECONDS = 0.25
_SILENT = 0.001
"""-60 dB of full scale: what never swings further from its own mean holds nothing to be heard."""
_FULL, _RUN_SAMPLES, _CLIPPED_SHARE = 0.999, 3, 0.001
"""Three samples in a row at full scale are a peak cut off; a clip has many of them from one sample in a thousand."""


def decode_audio(held: Mapping[str, Any], rate: int) -> np.ndarray:
    """The samples of an ``audio`` cell (``bytes`` or ``path``) as float32 (T,) at ``rate`` Hz, the mean of its channels.

    Raises :class:`DataError` naming the file.
    """
    name = str(held.get("path") or "a clip")
    source: Any = io.BytesIO(held["bytes"]) if held.get("bytes") is not None else name
    with _opened(source, name) as file:
        _check_header(file, name)
        samples = _samples(file, name)
        native = file.samplerate
    if not len(samples):
        raise BrokenMedia("empty", name, "it lasts 0 seconds")
    if not np.isfinite(samples).all():
        raise BrokenMedia("not_finite", name)
    if native == rate:
        return samples
    import soxr

    return np.ascontiguousarray(soxr.resample(samples, native, rate), dtype=np.float32)


def clip_seconds(held: Mapping[str, Any]) -> float:
    """How long the ``bytes`` of an ``audio`` cell last, by their header where they have one. Raises :class:`BrokenMedia`."""
    name = str(held["path"])
    with _opened(io.BytesIO(held["bytes"]), name) as file:
        _check_header(file, name)
        frames = file.frames or _frames_read(file, name)
        return frames / file.samplerate


def _samples(file: soundfile.SoundFile | CodedSound, name: str) -> np.ndarray:
    """(T,) float32, mixed block by block, so that a header cannot claim memory that the file does not fill."""
    most, frames, parts = MAX_SECONDS * file.samplerate, 0, []
    try:
        for block_TC in file.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):
            frames += len(block_TC)
            if frames > most:
                raise BrokenMedia("too_long", name, f"the limit is {MAX_SECONDS / 60:.0f} minutes")
            parts.append(block_TC[:, 0] if block_TC.shape[1] == 1 else block_TC.mean(axis=1, dtype=np.float32))
    except BrokenMedia:
        raise
    except Exception as error:  # libsndfile's, FFmpeg's and, for odd headers, NumPy's
        raise BrokenMedia("broken", name, _short(error)) from None
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def probe_audio(stream: BinaryIO, name: str, path: Path | None) -> Media:
    """Read, hash and wholly decode one clip, in blocks. The cell keeps the bytes when there is no ``path``.

    Raises :class:`BrokenMedia`.
    """
    digest = hashlib.blake2b(digest_size=8)
    data: bytes | None = None
    if path is None:
        data = whole_file(stream, name)
        digest.update(data)
        stream = io.BytesIO(data)
    else:
        while block := stream.read(2**18):
            digest.update(block)
        if not stream.tell():
            raise BrokenMedia("empty", name)
        stream.seek(0)
    with _opened(stream, name) as file:
        _check_header(file, name)
        heard = _Heard(file.samplerate)
        frames = _frames_read(file, name, heard)
        form, mode, rate = file.format, f"{file.channels} channel{'s' * (file.channels > 1)}", file.samplerate
        changes = ("mixed_to_mono",) if file.channels > 1 else ()
    suffix = Path(name).suffix.lower()
    if suffix and suffix not in _SUFFIXES.get(form, (suffix,)):
        changes += ("wrong_extension",)
    held = {"bytes": data, "path": name if path is None else str(path)}
    content = int.from_bytes(digest.digest(), "little")
    return Media(
        held,
        content,
        form,
        mode,
        seconds=frames / rate,
        rate=rate,
        changes=changes,
        signs=heard.signs(frames),
        name=name,
        sketch=heard.sketch.done(),
    )


class _Heard:
    """What the samples of a clip say of its recording, and what copies of it are found by, block by block."""

    def __init__(self, rate: int) -> None:
        self.low, self.high, self.clipped = math.inf, -math.inf, 0
        self.sketch = SoundSketch(rate)

    def add(self, block_TC: np.ndarray) -> None:
        """Note some samples."""
        if not block_TC.size:
            return
        self.low, self.high = min(self.low, float(block_TC.min())), max(self.high, float(block_TC.max()))
        if max(self.high, -self.low) >= _FULL:
            full_TC = np.abs(block_TC) >= _FULL
            runs_TC = full_TC[2:] & full_TC[1:-1] & full_TC[:-2]
            self.clipped += int(runs_TC.any(axis=1).sum())
        self.sketch.add(block_TC)

    def signs(self, frames: int) -> tuple[str, ...]:
        """``silent``, ``clipped`` or nothing, of so many frames."""
        if self.high - self.low <= 2 * _SILENT:
            return ("silent",)
        return ("clipped",) if self.clipped > _CLIPPED_SHARE * frames else ()


def _opened(source: Any, name: str) -> soundfile.SoundFile | CodedSound:
    """The file, ready to be read. Raises :class:`BrokenMedia`."""
    import soundfile

    try:
        return soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        if "System error" in str(error):
            raise BrokenMedia("unreadable", name, error.error_string) from None
        problem = error.error_string
    except (TypeError, ValueError, OSError) as error:
        problem = _short(error)
    try:
        return CodedSound(source, _head(source), name)
    except BrokenMedia as error:
        if error.reason == "foreign":  # then the first reader's words say more
            raise BrokenMedia("foreign", name, problem) from None
        raise


def _head(source: Any) -> bytes:
    """The first bytes of a path or of a stream that can be read again."""
    if isinstance(source, str):
        with open(source, "rb") as stream:
            return stream.read(HEAD_BYTES)
    source.seek(0)
    return source.read(HEAD_BYTES)


def _check_header(file: soundfile.SoundFile | CodedSound, name: str) -> None:
    """Refuse what the header rules out, before samples are read."""
    if file.frames == 0 and not isinstance(file, CodedSound):
        raise BrokenMedia("empty", name, "it lasts 0 seconds")
    if not _RATES_HZ[0] <= file.samplerate <= _RATES_HZ[1] or not 1 <= file.channels <= _MOST_CHANNELS:
        raise BrokenMedia("broken", name, f"its header says {file.samplerate} Hz and {file.channels} channels")
    cut = _CUT_OFF.search(file.extra_info)
    if cut and int(cut[1]) not in _UNKNOWN_LENGTHS and int(cut[2]) < int(cut[1]):
        raise BrokenMedia("broken", name, f"{int(cut[2]):,} of the {int(cut[1]):,} bytes of samples are there")
    if file.frames / file.samplerate > MAX_SECONDS:
        minutes = file.frames / file.samplerate / 60
        raise BrokenMedia("too_long", name, f"{minutes:,.0f} minutes, the limit is {MAX_SECONDS / 60:.0f}")


def _frames_read(file: soundfile.SoundFile | CodedSound, name: str, heard: _Heard | None = None) -> int:
    """Frames that can in fact be decoded, all of them finite."""
    frames, wrong = 0, 0
    try:
        for block_TC in file.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):
            frames += len(block_TC)
            bad = int(block_TC.size - np.isfinite(block_TC).sum())
            wrong += bad
            if heard is not None and not bad:
                heard.add(block_TC)
            if frames > MAX_SECONDS * file.samplerate:
                raise BrokenMedia("too_long", name, f"the limit is {MAX_SECONDS / 60:.0f} minutes")
    except BrokenMedia:
        raise
    except Exception as error:  # libsndfile's, FFmpeg's and, for odd headers, NumPy's
        raise BrokenMedia("broken", name, _short(error)) from None
    if wrong:
        raise BrokenMedia("not_finite", name, f"{wrong:,} samples")
    if not frames:
        raise BrokenMedia("empty", name, "it lasts 0 seconds")
    slack = _CODED_SLACK_SECONDS * file.samplerate if isinstance(file, CodedSound) else 0.0
    if frames + slack < 0.95 * file.frames:
        raise BrokenMedia("broken", name, f"{frames:,} of {file.frames:,} frames could be read")
    return frames


def _short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
