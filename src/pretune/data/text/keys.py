"""The key of pseudonyms on this machine: made when it is first needed, and read by its owner alone.

It lies outside of every run, so that nothing of a run that is forwarded holds it: docs/decisions.md, D241.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from pretune import notices
from pretune.data.text.pseudonyms import KEY_BYTES, KEY_FILE, key_place, read_key
from pretune.errors import UsageError
from pretune.files import fsync_dir, translate_disk_errors

__all__ = ["key_at_hand"]


def key_at_hand(name: str = "") -> bytes:
    """The key of this machine, or of the file that ``$PRETUNE_PSEUDONYM_KEY`` names; made where there is none and no ``name`` is told.

    ``name``: what the key was called that a model learned with. Raises :class:`UsageError` where that is not at hand.
    """
    place = key_place()
    if not name and not os.path.lexists(place):
        _make(place)
    try:
        return read_key(name)
    except ValueError as error:
        raise UsageError(
            str(error), f"let {KEY_FILE} name the file with the right key: {KEY_FILE}=FILE pretune ..."
        ) from None


def _make(place: Path) -> None:
    """Write a new key for its owner alone. Where two processes do so at once, the first one's stands."""
    aside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with translate_disk_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(aside, place)
            fsync_dir(place.parent)
    except OSError as error:
        raise UsageError(
            f"the key of the pseudonyms cannot be written to {place}: {error.strerror}",
            f"let {KEY_FILE} name a file in a folder that you may write to",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
    notices.note(
        f"a key for pseudonyms was made: {place}. Keep it: with another one the same value has another pseudonym. Forward it to nobody: "
        "who has it can find out which value a pseudonym stands for"
    )
