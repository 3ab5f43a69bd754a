"""Catalogues of gettext (``.po``), read and written as they are: an installed package needs no compiled copy beside them.

https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html, of which we use plain entries: no contexts, no plurals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["read_po", "written_po"]

_ENTRY = re.compile(r'^msgid\s+((?:".*"\s*)+)^msgstr\s+((?:".*"\s*)+)', re.MULTILINE)
_STRING = re.compile(r'".*"')
_HEAD = """# Help in Chinese. `python -m pretune.catalogue` adds what is new in the code, and takes out what is gone.
msgid ""
msgstr ""
"Language: zh\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"""


def read_po(text: str) -> dict[str, str]:
    """Translations by what they translate; empty where one is missing. The head of the file is left out."""
    entries = {_joined(one): _joined(other) for one, other in _ENTRY.findall(text)}
    entries.pop("", None)
    return entries


def _joined(strings: str) -> str:
    """Strings in quotes, as C and JSON write them, as one."""
    return "".join(json.loads(string) for string in _STRING.findall(strings))


def written_po(entries: Mapping[str, str], places: Mapping[str, str]) -> str:
    """The file of these entries, each with the place where its text is shown."""
    parts = [
        f"#: {places[text]}\nmsgid {json.dumps(text, ensure_ascii=False)}\nmsgstr {json.dumps(told, ensure_ascii=False)}\n"
        for text, told in entries.items()
    ]
    return "\n".join([_HEAD, *parts])
