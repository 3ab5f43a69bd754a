"""What lies at an address, by fsspec: names, sizes and what changes when a file does. Nothing is downloaded here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pretune.data.remote.addresses import LIBRARIES, is_pattern, last_part, scheme_of
from pretune.errors import DataError, PretuneError, UsageError
from pretune.forwarded import without_secrets
from pretune.hub import quiet_hub

__all__ = ["Listing", "RemoteFile", "listing_of", "telling"]

_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "Digest", "generation", "Last-Modified", "LastModified", "last_modified",
           "updated", "mtime", "created")  # fmt: skip
_MOST_FILES = 1_000_000
_LONGEST = 255
_DENIED = ("credential", "forbidden", "accessdenied", "access denied", "unauthorized", "401", "403", "invalidaccesskeyid", "signaturedoesnotmatch",
           "authentication", "permission")  # fmt: skip
_CREDENTIALS = {
    "s3fs": "give credentials as AWS's own tools do: aws configure, or export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... (a store of your own: AWS_ENDPOINT_URL); a public bucket: export FSSPEC_S3_ANON=true",
    "gcsfs": "give credentials as Google's own tools do: gcloud auth application-default login",
    "adlfs": "give credentials as Azure's own tools do: export AZURE_STORAGE_ACCOUNT_NAME=... AZURE_STORAGE_ACCOUNT_KEY=...",
    "aiohttp": "it is not given to everybody: download it with your credentials, and give the file",
}


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address. ``name`` is relative to it, ``path`` its store's own; ``stamp`` changes when the file does, "" where nobody tells."""

    name: str
    path: str
    bytes: int | None
    stamp: str


@dataclass(frozen=True)
class Listing:
    """What lies at an address: one file, a folder of them (``name`` is its own), or those that a pattern matches."""

    address: str
    name: str
    kind: str
    files: tuple[RemoteFile, ...]
    filesystem: Any

    @property
    def state(self) -> str:
        """Another text where a file was changed, added or taken away."""
        return json.dumps([self.address, self.kind, [[one.name, one.bytes, one.stamp] for one in self.files]])

    @property
    def is_known(self) -> bool:
        """Does the store tell when a file changes?"""
        return all(one.stamp for one in self.files)


def listing_of(address: str) -> Listing:
    """What lies there now. Raises :class:`DataError` where it cannot be seen, :class:`UsageError` where a library is missing."""
    scheme = scheme_of(address)
    with telling(address), quiet_hub():
        import fsspec

        options: dict[str, Any] = {"skip_instance_cache": True}  # credentials may have been set meanwhile
        if scheme.startswith("http"):
            options["headers"] = {"Accept-Encoding": "identity"}
        filesystem, path = fsspec.core.url_to_fs(address, **options)
        filesystem.invalidate_cache()
        kind, found = _found(filesystem, path, address)
    files = [_file(name, info) for name, info in sorted(found.items()) if not _is_passed_over(name, info)]
    if not files:
        raise DataError(
            f"no file lies at {address}", "give a file, a folder that holds some, or a pattern that matches"
        )
    _refuse_names([one.name for one in files], address)
    return Listing(address, last_part(address), kind, tuple(files), filesystem)


def _found(filesystem: Any, path: str, address: str) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """Relative name to what the store says of it."""
    if is_pattern(address):
        base = path[: min(path.index(mark) for mark in "*?[" if mark in path)].rpartition("/")[0]
        return "pattern", _below(filesystem.glob(path, detail=True), base)
    info = filesystem.info(path)
    if info.get("type") == "directory":
        if scheme_of(address).startswith("http"):
            raise DataError(f"{address} is a folder, which web servers do not list", "name a file")
        return "folder", _below(filesystem.find(path, detail=True), path)
    if "html" in str(info.get("mimetype", "")) and not address.lower().endswith((".html", ".htm")):
        raise DataError(
            f"{address} answers with a web page",
            "give the address of the file itself (on a page of code: its raw form)",
        )
    return "file", {last_part(address): info}


def _below(found: Mapping[str, Mapping[str, Any]], base: str) -> dict[str, Mapping[str, Any]]:
    start = base.strip("/")
    return {
        path.strip("/").removeprefix(start).strip("/"): info for path, info in found.items() if not path.endswith("/")
    }


def _is_passed_over(name: str, info: Mapping[str, Any]) -> bool:
    """Folders, marks of folders, and what is hidden."""
    return info.get("type") == "directory" or not name or any(part.startswith(".") for part in name.split("/"))


def _file(name: str, info: Mapping[str, Any]) -> RemoteFile:
    told = [str(info[key]) for key in _STAMPS if info.get(key) is not None]
    size = info.get("size")
    return RemoteFile(name, str(info["name"]), None if size is None else int(size), "|".join(told))


def _refuse_names(names: list[str], address: str) -> None:
    """Raise :class:`DataError` for names that are no files of a folder of this machine."""
    if len(names) > _MOST_FILES:
        raise DataError(
            f"{address} holds {len(names):,} files", f"at most {_MOST_FILES:,} are copied: give a part, or an archive"
        )
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in names:
        parts = name.split("/")
        if name in folders or any(
            part in ("", "..", ".") or "\0" in part or "\\" in part or len(part.encode()) > _LONGEST for part in parts
        ):
            raise DataError(
                f"{address} holds {name!r}, which cannot be a file's name here",
                "give a folder without it, or rename it",
            )


@contextlib.contextmanager
def telling(address: str) -> Iterator[None]:
    """Turn what the libraries of stores raise into errors that say what to do."""
    library = LIBRARIES[scheme_of(address)]
    try:
        yield
    except PretuneError:
        raise
    except ImportError as error:
        raise UsageError(
            f"{address.partition('://')[0]}:// cannot be read here: {error}",
            f"pip install {library or 'fsspec'}, or copy it to this machine",
        ) from None
    except FileNotFoundError:
        folder = address.rstrip("/").rpartition("/")[0]
        raise DataError(f"{address} is not there", f"is its name right? {folder}/ is the folder above") from None
    except Exception as error:  # each store's library has errors of its own, without a common base
        if getattr(error, "errno", None) == 28:  # the disk is full, which is said elsewhere
            raise
        said = without_secrets((str(error).strip().splitlines() or [""])[0][:300])
        kind = type(error).__name__
        if any(word in f"{kind} {said}".lower() for word in _DENIED):
            raise DataError(f"{address} was not given: {kind}: {said}", _CREDENTIALS.get(library, "")) from None
        raise DataError(
            f"{address} cannot be read: {kind}: {said}",
            "is its name right, and does the network reach it? Give the command again then",
        ) from None
