"""``python -m pretune.catalogue`` writes the Chinese catalogue of help anew: texts that are new in the code stand there to be translated.

Translations that are there are kept, those of texts that are gone are left out. A test holds the file equal to what is written here,
and complete. Which texts there are, the pages say themselves: they are made once, and what they ask the translation of is noted.
"""

from __future__ import annotations

import sys

from pretune.interface.declare import load_verb
from pretune.interface.flags import verb_parser
from pretune.interface.language import CATALOGUE, Translate
from pretune.interface.overview import overview
from pretune.interface.po import read_po, written_po
from pretune.interface.story import VERBS

__all__ = ["catalogue", "help_texts"]


def help_texts() -> dict[str, str]:
    """Every text of help, with the page on which it stands first."""
    found: dict[str, str] = {}

    def noting(page: str) -> Translate:
        def note(text: str) -> str:
            found.setdefault(text, page)
            return text

        return note

    overview(noting("pretune"))
    for entry in VERBS:
        for is_short in (True, False):
            verb_parser(load_verb(entry.name), is_short=is_short, translate=noting(f"pretune {entry.name}"))
    return found


def catalogue(present: str) -> str:
    """The file as it should be, with the translations of the present one."""
    translations, places = read_po(present), help_texts()
    return written_po({text: translations.get(text, "") for text in places}, places)


def main() -> str | None:
    """Write it; what to do next, where a text waits for its translation."""
    told = catalogue(CATALOGUE.read_text(encoding="utf-8") if CATALOGUE.exists() else "")
    CATALOGUE.write_text(told, encoding="utf-8")
    waiting = [text for text, translation in read_po(told).items() if not translation]
    return "\n  ".join([f"to be translated in {CATALOGUE}:", *waiting]) if waiting else None


if __name__ == "__main__":
    sys.exit(main())
