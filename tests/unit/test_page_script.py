"""The script of the service's page."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources


def test_a_name_is_declared_once() -> None:
    """A second declaration would keep the whole page from answering."""
    script = (resources.files("pretune.serve") / "page.js").read_text(encoding="utf-8")
    names = Counter(re.findall(r"^(?:async )?(?:const|let|function\*?|class) (\w+)", script, re.MULTILINE))
    assert [name for name, times in names.items() if times > 1] == []
    assert len(names) > 20
