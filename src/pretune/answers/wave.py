"""A sound to be made: a sentence spoken."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from pretune.answers.base import Answer
from pretune.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL.Image import Image

__all__ = ["Wave"]

_HELD = "data:audio/wav;base64,"
_FULL_SCALE = 32_767


@final
@dataclass(frozen=True, slots=True)
class Wave(Answer):
    """A clip: the place of its file, or a ``data:`` address that holds a WAV itself."""

    place: str

    kind: ClassVar[str] = "audio"
    words: ClassVar[tuple[str, str]] = ("clip", "clips")
    short: ClassVar[bool] = False
    lack: ClassVar[str] = "clip"
    suffix: ClassVar[str] = ".wav"
    in_files: ClassVar[bool] = True

    @classmethod
    def arrow(cls) -> pa.DataType:
        """Bytes of a file, or its path."""
        import pyarrow as pa

        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    @classmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """A path or an address. Raises :class:`DataError` for anything else."""
        if cell is None or cell == "":
            return None
        if not isinstance(cell, str):
            raise DataError(f"{where} has a {type(cell).__name__} where a clip is needed", "give the path of a file")
        return cls(cell)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`; also a cell of a column of clips."""
        if not isinstance(value, Mapping):
            return cls(str(value))
        held = value.get("bytes")
        return cls(str(value["path"]) if held is None else _HELD + base64.b64encode(held).decode())

    def to_json(self) -> str:
        """The place."""
        return self.place

    @classmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """A ``data:`` address."""
        return {"type": "string", "description": f"a WAV of 16 bits as {_HELD}..., or the place of its file"}

    def said(self) -> str:
        """How long it is, where it is held; else its place."""
        held = self.held()
        return self.place if held is None else f"a clip of {len(held):,} bytes"

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """As long, and apart by at most this share of its loudness."""
        import numpy as np
        import soundfile

        if self == other or not isinstance(other, Wave):
            return self == other
        held = [one.held() for one in (self, other)]
        if None in held:
            return False
        (a, rate), (b, other_rate) = (soundfile.read(io.BytesIO(one or b"")) for one in held)
        return rate == other_rate and len(a) == len(b) and bool(np.linalg.norm(a - b) <= tolerance * np.linalg.norm(a))

    def held(self) -> bytes | None:
        """The WAV that the address holds; None for a place. Raises :class:`DataError` for an address that holds none."""
        if not self.place.startswith("data:"):
            return None
        try:
            return base64.b64decode(self.place.partition("base64,")[2], validate=True)
        except binascii.Error as error:
            raise DataError(f"an address of a clip is broken: {error}", "make the predictions again") from None

    def cell(self) -> dict[str, Any]:
        """The clip as a column of clips has it."""
        held = self.held()
        return {"bytes": held, "path": self.place if held is None else "a clip"}

    @classmethod
    def of(cls, samples_T: np.ndarray, rate: int) -> Self:
        """Samples in [-1, 1] as a WAV of 16 bits."""
        import numpy as np
        import soundfile

        held = io.BytesIO()
        whole = np.rint(np.clip(samples_T, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)
        soundfile.write(held, whole, rate, format="WAV", subtype="PCM_16")
        return cls(_HELD + base64.b64encode(held.getvalue()).decode())

    def as_files(self, names: Sequence[str], picture: Callable[[], Image]) -> list[bytes]:
        """The WAV."""
        return [self.held() or b""]

    def in_file(self, folder: Path, name: str) -> tuple[str, dict[str, Any]]:
        """Write the WAV that the address holds into the folder: its name there, and what a record tells of the file."""
        from pretune.files import write_bytes

        held = self.held()
        if held is None:
            return self.place, {}
        write_bytes(folder / f"{name}{self.suffix}", held)
        return f"{name}{self.suffix}", {"sha256": hashlib.sha256(held).hexdigest(), "bytes": len(held)}
