"""The page of the service: one HTML text with its style and its script inside, named by their hashes in its security policy."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = ["page_of"]

_HERE = Path(__file__).parent
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def page_of(facts: Mapping[str, Any], style: str) -> tuple[str, str]:
    """The page and its content security policy. ``facts`` are those of the service, ``style`` the house's style sheet."""
    css = f"\n{style.strip()}\n\n{_text('page.css')}"
    script = f"\n{_text('page.js')}"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html").render(
        facts=facts, css=Markup(css), script=Markup(script), data=Markup(_json_inside_html(facts))
    )
    policy = (
        f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(script)}; connect-src 'self'; "
        "img-src data: blob:; media-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip() + "\n"


def _json_inside_html(value: Any) -> str:
    """JSON that no label and no name can end the script element with."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(_UNSAFE.get(letter, letter) for letter in text)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
