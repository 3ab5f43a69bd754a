"""How runs, outcomes and passports look in a notebook: small HTML, everything in it escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretune.interface.outcome import Outcome

__all__ = ["Passport", "Shown", "html_table", "html_text"]

_FINDINGS = 20


def html_text(text: str) -> str:
    """Lines as they are, the first in bold."""
    first, _, rest = text.partition("\n")
    below = f"<pre style='white-space:pre-wrap;margin:0'>{escape(rest)}</pre>" if rest else ""
    return f"<div><strong>{escape(first)}</strong>{below}</div>"


def html_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "") -> str:
    """A table with a title; the sentence ``empty`` where there are no rows."""
    if not rows:
        return html_text(f"{title}\n{empty}" if empty else title)
    head = "".join(f"<th scope='col'>{escape(str(name))}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Passport(Mapping[str, Any]):
    """A data passport as ``data.json`` holds it."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {split.get('rows')}" for name, split in self._facts.get("splits", {}).items())
        return f"<passport: {splits or 'empty'}; {len(self._facts.get('findings', []))} findings>"

    def _repr_html_(self) -> str:
        found = self._facts.get("findings", [])
        rows = [(one.get("severity", ""), one.get("message", ""), one.get("fix", "")) for one in found[:_FINDINGS]]
        return html_table(repr(self)[1:-1], ("", "finding", "what to do"), rows, empty="nothing to complain about")


class Shown:
    """A page that a verb wrote: shown in a notebook, and a file at ``path``; ``outcome`` is the verb's."""

    def __init__(self, path: Path, outcome: Outcome) -> None:
        self.path, self.outcome = path, outcome

    def __repr__(self) -> str:
        return f"<page {self.path}>"

    def __fspath__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        page = self.path.read_text(encoding="utf-8")
        return f"<iframe title='{escape(self.path.name)}' style='width:100%;height:40rem;border:0' sandbox='allow-scripts' srcdoc=\"{escape(page)}\"></iframe>"
