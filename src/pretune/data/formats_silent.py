"""Files whose names say nothing of what they hold (``TREC.train.all``, ``cooking``): texts and tables are told by their bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from pretune.data.archive import Entry

__all__ = ["is_silent_text"]

_SPEAKING = frozenset(
    (
        *("md", "rst", "tex", "bib", "html", "htm", "xhtml", "css", "xml", "xsd", "dtd", "svg", "rtf", "pdf", "doc", "docx", "odt", "ppt", "pptx"),
        *("yaml", "yml", "toml", "ini", "cfg", "conf", "env", "lock", "log", "out", "err", "pid", "sql", "db", "sqlite"),
        *("py", "pyc", "ipynb", "r", "m", "js", "ts", "c", "h", "cc", "cpp", "hpp", "java", "go", "rs", "rb", "pl", "php", "sh", "bat", "ps1", "lua"),
        *("zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar", "zst", "xls", "ods", "pkl", "npy", "npz", "pt", "pth", "bin", "onnx", "mat", "h5"),
        *("srt", "vtt", "lab", "textgrid", "conll", "conllu", "iob", "ann", "md5", "sha1", "sha256", "sum", "bak", "tmp", "swp", "part"),
    )
)  # fmt: skip
"""Suffixes that say what a file is, and that it holds no rows which are read here."""
_NAMES = re.compile(
    r"(makefile|dockerfile|gemfile|requirements|setup|manifest|todo|version|contributing|codeowners)", re.I
)
_HEAD_BYTES = 2**13
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_silent_text(entry: Entry) -> bool:
    """Whether the suffix of a file says nothing (or there is none) and it begins as a text does."""
    name = PurePosixPath(entry.inner)
    if name.suffix[1:].lower() in _SPEAKING or _NAMES.fullmatch(name.stem) or not entry.size:
        return False
    with entry.open() as stream:
        head = stream.read(_HEAD_BYTES)
    return bool(head.strip()) and (head.startswith(_WIDE) or _CONTROL.search(head) is None)
