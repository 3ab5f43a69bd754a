"""Sound that libsndfile cannot read (m4a, mp4, wma, webm, ...), by FFmpeg where the package av is installed.

The container is named by the file's own first bytes and given as a stream, so that a file can neither choose another
reader nor name another file or address.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from pretune.data.media.base import BrokenMedia
from pretune.data.media.kinds import has_extra, need_of, sound_format

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

__all__ = ["CodedSound"]

_WITHOUT_LENGTH = ("aac", "ac3", "amr")


class CodedSound:
    """The sound of one file, with the names that ``soundfile.SoundFile`` has for the same things.

    ``frames`` is what the header says, about, as coders fill up their last block; 0 where there is no such header.
    """

    extra_info = ""

    def __init__(self, source: str | BinaryIO, head: bytes, name: str) -> None:
        """``source`` is a path, or a stream that can be read again.

        Raises :class:`BrokenMedia` for what is of no such kind, needs av, or is damaged.
        """
        form = sound_format(head)
        if form is None:
            raise BrokenMedia(need_of(name, head) or "foreign", name)
        if not has_extra("coded"):
            raise BrokenMedia("coded", name)
        import av

        self.name, self._open = name, contextlib.ExitStack()
        if isinstance(source, str):
            source = self._open.enter_context(open(source, "rb"))  # noqa: SIM115 - the stack closes it
        source.seek(0)
        try:
            container = av.open(source, "r", format=form, metadata_errors="replace")
            self._container = self._open.enter_context(container)
            self._sound = self._first()
        except BrokenMedia:
            self.close()
            raise
        except Exception as error:  # FFmpeg has a kind for each thing that can be wrong
            self.close()
            raise BrokenMedia("broken", name, _short(error)) from None
        self.samplerate, self.channels = int(self._sound.rate), int(self._sound.channels)
        self.format = f"{form.upper()} ({self._sound.codec_context.name})"
        self.frames = 0 if form in _WITHOUT_LENGTH else int(self._seconds() * self.samplerate)

    def _first(self) -> AudioStream:
        if not self._container.streams.audio:
            raise BrokenMedia("no_sound", self.name)
        return self._container.streams.audio[0]

    def _seconds(self) -> float:
        sound, container = self._sound, self._container
        if sound.duration and sound.time_base:
            return float(sound.duration * sound.time_base)
        return (container.duration or 0) / 1_000_000  # FFmpeg's microseconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading."""
        self._open.close()

    def blocks(self, blocksize: int, dtype: str, always_2d: bool) -> Iterator[np.ndarray]:
        """(T, C) float32 as the packets come, whatever ``blocksize``. Raises what FFmpeg raises for damaged packets."""
        import av

        assert (dtype, always_2d) == ("float32", True), "the one form that is read"
        resampler = av.AudioResampler(format="fltp", layout=self._sound.layout.name, rate=self.samplerate)
        for frame in self._container.decode(self._sound):
            for even in resampler.resample(frame):
                yield np.ascontiguousarray(even.to_ndarray().T, dtype=np.float32)
        for even in resampler.resample(None):
            yield np.ascontiguousarray(even.to_ndarray().T, dtype=np.float32)


def _short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
