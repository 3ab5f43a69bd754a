"""What is an address of data elsewhere (``s3://bucket/news.csv``), and what keeps it out of records."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import urlsplit

from pretune.errors import DataError

__all__ = ["LIBRARIES", "is_address", "is_pattern", "last_part", "scheme_of"]

LIBRARIES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "http": "aiohttp", "https": "aiohttp", "memory": "",
}  # fmt: skip
"""By scheme, the library that fsspec needs beside it."""
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
_WEB = ("http", "https")


def is_address(place: str) -> bool:
    """Is it an address, and no path, hub id or word?"""
    return _ADDRESS.match(place) is not None


def scheme_of(address: str) -> str:
    """Which store it is of. Raises :class:`DataError` for one that is not read."""
    match = _ADDRESS.match(address)
    assert match is not None, address
    scheme = match["scheme"].lower()
    if scheme == "file":
        raise DataError(f"{address} is a file of this machine", f"give its path: {address[7:] or '/'}")
    if scheme not in LIBRARIES or "::" in address:
        allowed = ", ".join(f"{name}://" for name in LIBRARIES if name != "memory")
        raise DataError(
            f"{address} cannot be read", f"allowed: {allowed}; or copy it to this machine, and give the file or folder"
        )
    return scheme


def is_pattern(address: str) -> bool:
    """Does it name several by ``*``? On the web a ``?`` begins a question."""
    return scheme_of(address) not in _WEB and bool(set("*?[") & set(address))


def last_part(address: str) -> str:
    """The name of the file or folder."""
    parts = urlsplit(address)
    path = parts.path if scheme_of(address) in _WEB else address.partition("://")[2]
    return posixpath.basename(path.rstrip("/")) or parts.netloc or "data"
