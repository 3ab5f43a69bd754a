"""Copies of what lies at addresses, in the cache: made once for each state of the files there, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune import notices
from pretune.cache import get_or_create, limit_bytes
from pretune.data.remote.addresses import is_address, scheme_of
from pretune.data.remote.stores import Listing, RemoteFile, listing_of, telling
from pretune.errors import DataError
from pretune.files import cache_dir, read_json, write_json
from pretune.hub import quiet_hub
from pretune.wording import counted

__all__ = ["by_address", "copied", "facts_of", "let_go", "local", "state_of", "tell_by_address"]

_KIND, _ABOUT, _FILES = "remote", "copy.json", "files"
_THREADS, _PIECE = 8, 1 << 20


@dataclass
class Copy:
    """An entry of the cache. It stays there as long as this process lives."""

    folder: Path
    about: dict[str, Any]

    @property
    def places(self) -> list[str]:
        """The paths that stand for the address: the file, the folder, or the files that a pattern matched."""
        root = self.folder / _FILES
        if self.about["kind"] == "folder":
            return [str(root / self.about["name"])]
        return [str(root / name) for name in self.about["files"]]


_copies: dict[str, Copy] = {}
"""The last copy of each address that this process used."""
_kept: dict[Path, Copy] = {}
"""All of them: rows may name pictures and clips in them as long as this process lives."""


def copied(address: str) -> list[str]:
    """The paths of a copy of what lies at the address now, which is asked for each time; what did not change is not copied again.

    Raises :class:`DataError` where it cannot be had, or is more than the cache may hold.
    """
    listing = listing_of(address)
    name = listing.state if listing.is_known else f"{listing.state} {os.urandom(8).hex()}"
    found = get_or_create(
        _KIND, name, lambda folder: Copy(folder, read_json(folder / _ABOUT)), lambda aside: _copy(listing, aside)
    )
    _copies[address] = _kept[found.folder] = found
    return found.places


def let_go(address: str) -> None:
    """The copy of what lies at the address is used no more: where the cache is full, it may drop it."""
    copy = _copies.pop(address, None)
    if copy is not None:
        _kept.pop(copy.folder, None)


def local(place: str | None) -> str | None:
    """The path of one file or folder, copied if it is at an address. Raises :class:`DataError` for a pattern of several."""
    if place is None or not is_address(place):
        return place
    first, *more = copied(place)
    if more:
        raise DataError(
            f"{place} names {1 + len(more)} files, and one place is taken here", "give the folder that holds them"
        )
    return first


def state_of(address: str) -> str:
    """A hash that changes when what lies at the address does."""
    return hashlib.blake2b(listing_of(address).state.encode(), digest_size=12).hexdigest()


def facts_of(places: Iterable[str]) -> list[dict[str, Any]]:
    """For records: of each address among ``places``, what was copied, with a hash of its content."""
    keys = ("address", "content", "bytes", "num_files")
    return [{key: _copies[place].about[key] for key in keys} for place in dict.fromkeys(places) if place in _copies]


def tell_by_address(error: DataError) -> None:
    """Let an error name addresses in place of the paths of their copies."""
    error.problem, error.fix = by_address(error.problem), by_address(error.fix)


def by_address(value: Any) -> Any:
    """The same JSON value with addresses in place of the paths of their copies."""
    if isinstance(value, str):
        for address, copy in _copies.items():
            roots = [copy.folder / _FILES] if copy.about["kind"] == "pattern" else [*map(Path, copy.places)]
            for root in roots:
                for path in (str(root), os.path.relpath(root)):
                    value = value.replace(path, address)
    elif isinstance(value, dict):
        return {by_address(key): by_address(item) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        return type(value)(by_address(item) for item in value)
    return value


def _copy(listing: Listing, aside: Path) -> None:
    """Fill a new entry. What changes meanwhile, or comes short, is an error; then the entry is never seen."""
    most = _room_for(listing)
    root = aside / _FILES / listing.name if listing.kind == "folder" else aside / _FILES
    with telling(listing.address), quiet_hub(), ThreadPoolExecutor(_THREADS) as pool:
        sums = [*pool.map(lambda file: _copy_file(listing, file, root / file.name, most), listing.files)]
    if listing.is_known and listing_of(listing.address).state != listing.state:
        raise DataError(f"{listing.address} was changed while it was copied", "give the command again when it is whole")
    files = {
        file.name: {"bytes": size, "sha256": digest, "stamp": file.stamp}
        for file, (size, digest) in zip(listing.files, sums, strict=True)
    }
    content = hashlib.sha256(json.dumps([[name, facts["sha256"]] for name, facts in files.items()]).encode())
    about = {
        "format": 1, "address": listing.address, "kind": listing.kind, "name": listing.name, "content": content.hexdigest(),
        "bytes": sum(size for size, _ in sums), "num_files": len(files), "files": files,
    }  # fmt: skip
    write_json(aside / _ABOUT, about)


def _copy_file(listing: Listing, file: RemoteFile, target: Path, most: int) -> tuple[int, str]:
    """Its bytes and their hash. Raises :class:`DataError` where fewer or more came than the store said."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    streamed = {"block_size": 0} if scheme_of(listing.address).startswith("http") else {}
    with listing.filesystem.open(file.path, "rb", **streamed) as source, open(target, "wb") as out:
        while piece := source.read(_PIECE):
            size += len(piece)
            if size > most:
                raise _too_large(listing.address, f"more than {_size_text(most)}")
            digest.update(piece)
            out.write(piece)
    if file.bytes not in (None, size):
        raise DataError(
            f"{listing.address}: of {file.name} came {size:,} of {file.bytes:,} bytes",
            "give the command again: nothing of it was kept",
        )
    return size, digest.hexdigest()


def _room_for(listing: Listing) -> int:
    """How much may be copied; how much it is, is told. Raises :class:`DataError` where that is too much."""
    limit, free = limit_bytes(), shutil.disk_usage(cache_dir()).free
    size = sum(file.bytes or 0 for file in listing.files)
    told = _size_text(size) if all(file.bytes is not None for file in listing.files) else "of unknown size"
    if size > limit:
        raise _too_large(listing.address, told)
    if size > free:
        raise DataError(
            f"{listing.address} is {told}, and the disk of the cache has {_size_text(free)} left",
            "export PRETUNE_CACHE=/a/larger/disk",
        )
    notices.note(
        f"{listing.address}: {counted(len(listing.files), 'file')}, {told}, copied to the cache, once for each state of it (pretune cache shows it)"
    )
    return min(limit, free)


def _too_large(address: str, told: str) -> DataError:
    limit = limit_bytes()
    return DataError(
        f"{address} is {told}, and the cache holds at most {_size_text(limit)}",
        f"give a part of it, or export PRETUNE_CACHE_GB={math.ceil(max(limit / 1e9, 1)) * 4}",
    )


def _size_text(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"
