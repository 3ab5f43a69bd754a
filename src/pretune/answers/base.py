"""All that the house has to know of a kind of answer: how a person writes it, how it is stored, told, compared and counted.

A kind is one final class beside this file and one name in ``answers/__init__.py``. Its word is the column of the data, the key
of a record and the word of ``pretune.json``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

__all__ = ["Answer", "NameList", "Trouble", "rarest"]


class Trouble(NamedTuple):
    """Something wrong with ``num`` answers of a data set, and what to do; ``severity`` is error, warning or note."""

    severity: str
    code: str
    message: str
    num: int
    fix: str


class Answer(ABC):
    """The right answer of a row, or what a model says of it.

    ``kind`` is its word, ``words`` what people call one and several, ``lack`` what a row without it has none of, ``conflict``
    what equal rows stand with that contradict each other, and what to decide on. ``short``: it can
    be told beside a row in a few words. ``is_class``:
    the model chooses among names that the training rows have, so that rows are split by them. ``closed``: a row with a name that
    training rows have not could never be answered right, in no part, and is refused. ``suffix`` is that of the file as which it can be
    written too, or of the files (:meth:`as_files`), "" for none. ``in_files``: it is one, and a record points to it (:meth:`in_file`). ``shares_text``: many rows of a group are asked
    about one and the same text, so that rows of a group being alike tells nothing. ``placed`` says of what places in a text it is made,
    which cleaning the text would move.
    """

    kind: ClassVar[str]
    words: ClassVar[tuple[str, str]]
    lack: ClassVar[str]
    conflict: ClassVar[tuple[str, str]] = ("different answers", "the answer")
    short: ClassVar[bool] = True
    in_files: ClassVar[bool] = False
    is_class: ClassVar[bool] = False
    closed: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    shares_text: ClassVar[bool] = False
    placed: ClassVar[str] = ""

    @classmethod
    def lacked(cls) -> str:
        """``lack`` of many rows: labels, numbers, tags."""
        return cls.lack if cls.lack.endswith("s") else f"{cls.lack}s"

    @classmethod
    @abstractmethod
    def arrow(cls) -> pa.DataType:
        """How a column of it is stored."""

    @classmethod
    @abstractmethod
    def read(cls, cell: Any, where: str) -> Self | None:
        """What a person's cell says (a string of a table, a value of JSON); None where it is empty.

        Raises :class:`pretune.errors.DataError`, which names ``where``, for a cell that cannot be read.
        """

    @classmethod
    @abstractmethod
    def from_json(cls, value: Any) -> Self:
        """The answer that :meth:`to_json` wrote."""

    @abstractmethod
    def to_json(self) -> Any:
        """The answer as a column or a record holds it."""

    @classmethod
    @abstractmethod
    def schema(cls, names: Sequence[str] = ()) -> Mapping[str, Any]:
        """JSON schema of what a model answers; ``names`` are those it chooses among."""

    def names(self) -> tuple[str, ...]:
        """The names that the answer uses, of those that a model chooses among; a name may come twice."""
        return ()

    def contents(self) -> tuple[str, ...]:
        """Its texts that, as those of inputs, may stand on one side of a split alone; nothing for most kinds."""
        return ()

    def same(self, other: Answer, tolerance: float = 0.0) -> bool:
        """Do both say the same? Numbers may differ by ``tolerance``."""
        return self == other

    @abstractmethod
    def said(self) -> str:
        """The answer in one line, for a terminal or a cell."""

    def as_files(self, names: Sequence[str], picture: Callable[[], Image]) -> list[bytes]:
        """The answer as files of its own, where it has a ``suffix``; ``names`` are those that the model chooses among, ``picture`` gives the
        row's.
        """
        raise NotImplementedError(f"a {self.kind} is no file")

    def in_file(self, folder: Path, name: str) -> tuple[Any, dict[str, Any]]:
        """Of a kind ``in_files``: keep the answer as a file called ``name`` in the folder. What a record has in its place, and what it
        tells of the file.
        """
        return self.to_json(), {}

    def combined(self) -> str:
        """The answer as one word, equal for equal answers, for people to look at."""
        return self.said()

    @classmethod
    def strata(cls, answers: Sequence[Any]) -> list[str]:
        """What is kept in proportion when rows are split or fewer are taken: the rarest name of each row, "" without any."""
        return rarest([() if answer is None else answer.names() for answer in answers])

    @classmethod
    def passport(cls, answers: Iterable[Any]) -> dict[str, Any] | None:
        """Figures of a column for the data passport; None where there is nothing to tell.

        ``sentence`` tells them in a line; ``histogram`` (``edges``, ``counts``) or ``bars`` (``title`` and ``counts`` by name) is drawn;
        ``tile`` is a name and what stands below it, in a few letters.
        """
        return None

    @classmethod
    def troubles(cls, split: str, figures: Mapping[str, Any], train: Mapping[str, Any] | None) -> Iterator[Trouble]:
        """What is wrong with the answers of a split, by its figures and those of the training rows."""
        yield from ()


@dataclass(frozen=True, slots=True)
class NameList(Answer):
    """An answer that is several names."""

    values: tuple[str, ...]

    @classmethod
    def arrow(cls) -> pa.DataType:
        """A list of strings."""
        import pyarrow as pa

        return pa.list_(pa.string())

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """See :class:`Answer`."""
        return cls(tuple(map(str, value)))

    def to_json(self) -> list[str]:
        """The names."""
        return list(self.values)


def rarest(names_by_row: Sequence[Sequence[str]]) -> list[str]:
    """The rarest name of each row, the first by alphabet of equals; "" for a row of none."""
    counts = Counter(name for names in names_by_row for name in names)
    return [min(names, key=lambda name: (counts[name], name), default="") for names in names_by_row]
