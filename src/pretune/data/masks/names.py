"""What the values of masks are called: by a table beside the data, by a file of names, by what a model learned, else by themselves."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pretune.data.archives.streams import Entry
from pretune.data.masks.probe import MOST_VALUES
from pretune.data.text.encodings import find_encoding, open_text, read_lines
from pretune.errors import DataError, did_you_mean
from pretune.wording import counted

__all__ = ["MaskNames", "is_mask_table", "name_values"]

_TABLE = re.compile(
    r"(.*[_\-])?(class(es)?|labels?|colou?rs?|palette|categories)[_\-]?(dict|map|colou?rs?|names?|table|list|map)?(s)?\.(csv|txt|tsv)",
    re.I,
)
_VOID = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "ignore_label", "don't care", "dontcare", "nothing")
_NUMBERS = re.compile(r"-?\d+")
_MOST_BYTES, _SHOWN = 2**18, 8
_MOST_UNNAMED = 0.05


@dataclass(frozen=True)
class _Line:
    """A class of a table: its name, and the number or the colour (``#rrggbb``) that stands for it."""

    name: str
    number: int | None = None
    colour: str | None = None


@dataclass(frozen=True)
class MaskNames:
    """``names`` maps each value to its class, None for no class; ``classes`` are those that pictures show, in order; ``absent`` those that a
    table names and no picture shows; ``notes`` are sentences.
    """

    names: Mapping[str, str | None]
    classes: tuple[str, ...]
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, object]:
        """JSON form."""
        return {"names": dict(self.names), "classes": list(self.classes), "absent": list(self.absent)}


def is_mask_table(entry: Entry) -> bool:
    """Is this a file that gives classes their colours (``class_dict.csv``, ``label_colors.txt``, ``labelmap.txt``)? Names alone are for other readers."""
    if not _TABLE.fullmatch(PurePosixPath(entry.name).name) or entry.size > _MOST_BYTES:
        return False
    try:
        return any(line.colour is not None for line in _lines_of(entry, None))
    except (DataError, OSError, UnicodeError):
        return False


def _lines_of(entry: Entry, encoding: str | None) -> list[_Line]:
    """The classes of a table: ``name,r,g,b`` with a header or without, ``r g b name``, ``name:r,g,b::`` (CVAT), or one name a line,
    whose number is its place."""
    with open_text(entry.open(), find_encoding(entry, encoding)) as text:
        lines = [line.strip() for line in read_lines(text, entry.name)]
    lines = [line for line in lines if line and not line.startswith("#")]
    found = [_line_of(line) for line in lines]
    if any(one and one.colour for one in found):
        return [one for one in found if one is not None]
    return [_Line(line, number) for number, line in enumerate(lines)]


def _line_of(line: str) -> _Line | None:
    """One line of a table of colours; None for a header."""
    if match := re.fullmatch(r"([^:]+):\s*(\d+),\s*(\d+),\s*(\d+)(:.*)?", line):
        return _Line(match[1].strip(), None, _hex(*map(int, match.group(2, 3, 4))))
    cells = next(csv.reader([line])) if "," in line else re.split(r"[\t;]+| +", line)
    cells = [cell.strip() for cell in cells if cell.strip()]
    numbers = [int(cell) for cell in cells if _NUMBERS.fullmatch(cell)]
    words = [cell for cell in cells if not _NUMBERS.fullmatch(cell)]
    if not words or len(numbers) not in (3, 4) or not all(0 <= number <= 255 for number in numbers[-3:]):
        return None
    return _Line(" ".join(words), numbers[0] if len(numbers) == 4 else None, _hex(*numbers[-3:]))


def _hex(red: int, green: int, blue: int) -> str:
    return f"#{red:02x}{green:02x}{blue:02x}"


def name_values(
    pixels: Mapping[str, int],
    tables: Sequence[Entry] = (),
    label_files: Sequence[Entry] = (),
    *,
    ignore: Sequence[str] = (),
    learned: Mapping[str, str | None] | None = None,
    encoding: str | None = None,
) -> MaskNames:
    """Names for the values of all masks, of which ``pixels`` gives how many there are of each.

    ``learned`` are the names that a model's data had, which hold where the data does not name its values itself. ``ignore`` are names
    (or values) of what has no class. Raises :class:`DataError` for masks of two kinds, for many pixels of colours that the table lacks,
    and for a name to be ignored that there is not.
    """
    plain = _plain(pixels)
    for entry in tables:
        if found := _by_colours(plain, pixels, _lines_of(entry, encoding), entry.name):
            return _ignoring(found, ignore)
    for entry in label_files:
        if found := _by_places(plain, [line.name for line in _lines_of(entry, encoding)], entry.name):
            return _ignoring(found, ignore)
    if learned and set(plain.values()) & learned.keys():
        names = {value: learned.get(known, known) for value, known in plain.items()}
        return _ignoring(_made(names, [name for name in learned.values() if name is not None], ()), ignore)
    return _ignoring(_by_themselves(plain), ignore)


def _plain(pixels: Mapping[str, int]) -> dict[str, str]:
    """Each value as a number or a colour; colours that are all grey are numbers. Raises :class:`DataError` for both at once."""
    found = {value: value.partition("|")[0] for value in pixels}
    colours = [value for value in found.values() if value.startswith("#")]
    if colours and all(value[1:3] == value[3:5] == value[5:7] for value in colours):
        return {value: str(int(own[1:3], 16)) if own.startswith("#") else own for value, own in found.items()}
    if colours and len(colours) < len(found):
        raise DataError(
            f"some masks are colours (such as {colours[0]}), others numbers (such as {next(v for v in found.values() if v not in colours)})",
            "give masks of one kind",
        )
    return found


def _made(
    names: Mapping[str, str | None], order: Sequence[str], notes: Sequence[str], table: Sequence[str] = ()
) -> MaskNames:
    present = {name for name in names.values() if name is not None}
    classes = [name for name in dict.fromkeys(order) if name in present]
    classes += sorted(present - set(classes))
    absent = tuple(name for name in dict.fromkeys(table) if name not in present and not _is_void(name))
    told = [*notes]
    if absent:
        shown = f"{', '.join(absent[:_SHOWN])}{', ...' if len(absent) > _SHOWN else ''}"
        told.append(f"{counted(len(absent), 'class', 'classes')} of the table stand in no picture: {shown}.")
    return MaskNames(names, tuple(classes), absent, tuple(told))


def _is_void(name: str) -> bool:
    return name.strip().casefold() in _VOID


def _by_colours(
    plain: Mapping[str, str], pixels: Mapping[str, int], lines: Sequence[_Line], table: str
) -> MaskNames | None:
    """By a table of colours (or of numbers with them); None where it names none of the values."""
    by_colour = {line.colour: line.name for line in lines if line.colour}
    by_number = {str(line.number): line.name for line in lines if line.number is not None}
    names: dict[str, str | None] = {}
    for value, own in plain.items():
        colour = own if own.startswith("#") else value.partition("|")[2]
        known = by_colour.get(colour) or by_number.get(own)
        names[value] = None if known is None or _is_void(known) else known
    unnamed = [
        value for value, own in plain.items()
        if (own if own.startswith("#") else value.partition("|")[2]) not in by_colour and own not in by_number
    ]  # fmt: skip
    if len(unnamed) == len(plain):
        return None
    notes = [f"Values of masks were named by {table}."]
    voids = sorted({line.name for line in lines if _is_void(line.name)})
    notes += [f"Pixels of {', '.join(voids)} have no class."] if voids else []
    share = sum(pixels[value] for value in unnamed) / max(1, sum(pixels.values()))
    if share > _MOST_UNNAMED:
        raise DataError(
            f"{100 * share:.0f} % of the pixels of masks have values that {table} does not name, such as {plain[unnamed[0]]}",
            "add them to the table; many shades along edges come from smoothing: export the masks without it",
        )
    if unnamed:
        notes.append(
            f"{counted(len(unnamed), 'value')} that {table} does not name ({', '.join(plain[v] for v in unnamed[:_SHOWN])}; {100 * share:.2g} % of the pixels) have no class."
        )
    order = [line.name for line in lines]
    return _made(names, order, notes, order)


def _by_places(plain: Mapping[str, str], lines: Sequence[str], file: str) -> MaskNames | None:
    """By the lines of a file, the first for 0; 255 may be without. None where it does not fit."""
    numbers = {value: int(own) for value, own in plain.items() if _NUMBERS.fullmatch(own)}
    named = {value: number for value, number in numbers.items() if number != MOST_VALUES + 1 or number < len(lines)}
    if len(numbers) < len(plain) or not named or max(named.values()) >= len(lines):
        return None
    names: dict[str, str | None] = dict.fromkeys(plain)
    names |= {value: None if _is_void(lines[number]) else lines[number] for value, number in named.items()}
    return _made(names, lines, [f"Values of masks were named by the lines of {file}."], lines)


def _by_themselves(plain: Mapping[str, str]) -> MaskNames:
    """Numbers and colours as they are; 255 beside two others or more is none; black and white are called so."""
    own = set(plain.values())
    if own <= {"0", "255"}:
        words = {"0": "black", "255": "white"}
        note = "Masks are of two values, 0 and 255: the classes are called black and white."
        return _made({value: words[known] for value, known in plain.items()}, ["black", "white"], [note])
    names: dict[str, str | None] = dict(plain)
    notes = []
    if "255" in own and len(own) > 2:
        names |= {value: None for value, known in plain.items() if known == "255"}
        notes.append("Pixels of value 255 have no class, as is usual; --ignore-class none takes them for one.")
    if all(_NUMBERS.fullmatch(known) for known in own):
        return _made(names, sorted(own, key=int), notes)
    notes.append(
        "Classes are called by their colours: a file class_dict.csv beside the data (name,r,g,b) gives them names."
    )
    return _made(names, sorted(own), notes)


def _ignoring(found: MaskNames, ignore: Sequence[str]) -> MaskNames:
    """Without the classes that a person named; ``none`` alone keeps all values."""
    if not ignore:
        return found
    if [*ignore] == ["none"]:
        kept = {value: value.partition("|")[0] if name is None else name for value, name in found.names.items()}
        return _made(kept, [*found.classes, *kept.values()], found.notes)
    known = {value.partition("|")[0]: name for value, name in found.names.items()}
    every = {*known, *(name for name in known.values() if name)}
    unknown = [name for name in ignore if name not in every]
    if unknown:
        raise DataError(
            f"--ignore-class {unknown[0]}: masks have no such class or value", did_you_mean(unknown[0], sorted(every))
        )
    names = {
        value: None if name in ignore or value.partition("|")[0] in ignore else name
        for value, name in found.names.items()
    }
    note = f"Pixels of {', '.join(ignore)} have no class (--ignore-class)."
    return _made(names, found.classes, [*found.notes, note])
