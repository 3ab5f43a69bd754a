"""A corpus that is learned from file by file (``--stream``): the rows of each, without those that are held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.data.corpus import corpus_of, rows_without
from pretune.data.load import load_splits, modality_of
from pretune.data.parts import CorpusFile, files_of
from pretune.data.reading import Reading
from pretune.data.remote import copies
from pretune.data.split import content_keys
from pretune.data.splits import Splits
from pretune.data.store import let_go
from pretune.engine.parted import Part, PartedFeeds
from pretune.engine.randomness import seed_of
from pretune.errors import DataError, RunError
from pretune.interface.outcome import Say
from pretune.runfolder import is_run
from pretune.runs.keys import save_train_keys
from pretune.runs.rows import check_ledgers, data_fingerprint, tell_reading_of
from pretune.runs.tagger import tagger_of
from pretune.wording import counted

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.engine.batching import Feeds, Stream
    from pretune.objectives.pretraining import Pretraining
    from pretune.runfolder import RunFolder
    from pretune.tasks.protocols import EncodedRows

__all__ = ["CorpusParts", "StreamedCorpus"]

_WHOLE = {
    "drop_leaks": "compares all rows with validation and test rows",
    "drop_near_leaks": "compares all rows with validation and test rows",
    "relabel": "is for rows with labels, which are not looked at here",
    "fold": "cuts all rows at once",
    "validation": "names rows that are not learned from: leave them out of the data",
    "test": "names rows that are not learned from: leave them out of the data",
}
_INPUTS = ("text", "text_pair", "image", "audio")


class StreamedCorpus:
    """Files in turn, in another order (by the seed) at each pass. The ``first`` gives the tokenizer, the held-out rows and the way
    in which columns are read; ``data`` is its corpus.

    Raises :class:`DataError` and :class:`pretune.errors.UsageError` as reading does.
    """

    def __init__(self, settings: Any, say: Say) -> None:
        for name, why in _WHOLE.items():
            settings.refuse_given((name,), f"does not go with --stream: it {why}")
        self.settings, self.say = settings, say
        self.files, notes = files_of(settings)
        self._names = tagger_of(settings)
        self._reading: Reading | None = None
        self._fingerprints: dict[str, str] = {}
        for note in notes:
            say.note(note)
        first = self.file(0)
        say.note(f"{counted(len(self.files), 'file')} to learn from in turn, first {first.name}")
        self.data = corpus_of(self._read(first), settings.seed)
        self._reading = Reading.of(settings, {"facts": self.data.facts})
        self._modality = modality_of(self.data)
        self._held_keys = np.unique(content_keys(self.data["validation"]))
        self.data.facts.setdefault("split", {}).setdefault("notes", []).append(
            f"The rows were learned from file by file; what stands here is of the first file alone, {first.name} of {counted(len(self.files), 'file')}."
        )

    def file(self, number: int) -> CorpusFile:
        """The file whose turn is number 0, 1, 2, ...; every pass has all of them."""
        return self.files[self._place(number)]

    def _place(self, number: int) -> int:
        a_pass, position = divmod(number, len(self.files))
        order = np.random.default_rng(seed_of(self.settings.seed, "files", a_pass)).permutation(len(self.files))
        return int(order[position])

    def updates_of_pass(self, updates: int) -> int:
        """About how many updates a pass over all files has, when the first has so many."""
        sizes = [file.bytes for file in self.files]
        share = sum(sizes) / self.file(0).bytes if all(sizes) else float(len(self.files))
        return max(1, round(updates * share))

    @property
    def identity(self) -> str:
        """A hash of which files there are: a run goes on with the same ones."""
        return hashlib.blake2b(json.dumps([file.name for file in self.files]).encode(), digest_size=6).hexdigest()

    def facts(self, run: RunFolder) -> dict[str, Any]:
        """For run.json: which files there are, and what of them was learned from so far."""
        learned = {line["file"]: line["rows"] for line in run.log_lines() if line.get("kind") == "part"}
        return {
            "files": len(self.files),
            "bytes": sum(file.bytes for file in self.files),
            "first": self.file(0).name,
            "files_learned": len(learned),
            "rows_learned": sum(learned.values()),
        }

    def recall(self, run: RunFolder) -> None:
        """Take in what an earlier session of the run has read, so that a file that changed since is found out."""
        for line in run.log_lines():
            if line.get("kind") == "part":
                self._fingerprints[line["file"]] = line["fingerprint"]

    def rows(self, number: int) -> tuple[Dataset | None, dict[str, Any]]:
        """The rows of a file to learn from (None where it has none), and what the log says of it. The file before is let go.

        Raises :class:`DataError` for one that is read otherwise than the first, :class:`RunError` for one that has changed.
        """
        let_go()
        copies.let_go(self.file(number - 1).place)
        file = self.file(number)
        data = self._read(file)
        rows = rows_without(data, self._held_keys)
        return rows, self.checked_facts(number, rows)

    def checked_facts(self, number: int, rows: Dataset | None) -> dict[str, Any]:
        """What the log says of a file, whose rows are held against what was learned from before. Raises :class:`RunError` where the run has learned from other rows of it."""
        file = self.file(number)
        fingerprint = "" if rows is None else data_fingerprint(Splits({"train": rows}))
        if self._fingerprints.setdefault(file.name, fingerprint) != fingerprint:
            raise RunError(
                f"{file.place} holds other rows than when this run learned from it",
                "bring the old file back, or start again with --overwrite",
            )
        a_pass = 1 + number // len(self.files)
        return {"file": file.name, "pass": a_pass, "rows": 0 if rows is None else len(rows), "fingerprint": fingerprint}

    def keep_keys(self, run: RunFolder, number: int, rows: Dataset) -> None:
        """Note once what was learned from a file after the first."""
        if (place := self._place(number)) != self._place(0):
            save_train_keys(run, rows, file=place + 1)

    def _read(self, file: CorpusFile) -> Splits:
        settings = self.settings.elsewhere(file.place)
        data = load_splits(settings, self._reading, names=self._names)
        tell_reading_of(data, self.say, settings=self.settings if self._reading is None else None)
        if self._reading is not None:
            self._refuse_other(file, data)
        return data

    def _refuse_other(self, file: CorpusFile, data: Splits) -> None:
        """Raise :class:`DataError` for a file whose rows are made of something else, or stand in other columns."""
        known = _inputs_of(self.data)
        found = _inputs_of(data)
        if modality_of(data) is not self._modality or found != known:
            raise DataError(
                f"{file.place}: {_words(found)}; in {self.file(0).name}, from which learning began, {_words(known)}",
                "give files with the same columns, or name the column: --column text=NAME",
            )


@dataclass
class CorpusParts:
    """The files of a corpus, each as streams of an objective when its turn comes."""

    streamed: StreamedCorpus
    objective: Pretraining
    run: RunFolder
    cluster: Any
    streams: Callable[[EncodedRows], dict[str, Stream]]

    def feeds(self, first: dict[str, Stream], **how: Any) -> Feeds:
        """Of all files, of which the streams of the ``first`` are at hand."""
        streamed, run = self.streamed, self.run
        updates = streamed.updates_of_pass(next(iter(first.values())).updates_per_epoch)
        if is_run(run.path):
            streamed.recall(run)
            updates = run.record.get("streamed", {}).get("updates_per_pass", updates)
            if self.cluster.is_first:
                run.update_record(streamed={**streamed.facts(run), "updates_per_pass": updates})
            self.cluster.barrier()
        facts = streamed.checked_facts(0, streamed.data["train"])
        return PartedFeeds(Part(first, facts), self.load, updates_per_pass=updates, **how)

    def load(self, number: int) -> Part:
        """The file whose turn it is. Raises :class:`pretune.errors.PretuneError` as reading does."""
        with self.cluster.first_before_others():
            rows, facts = self.streamed.rows(number)
            if rows is None:
                return Part(facts=facts)
            encoded = self.objective.encode_rows(rows, fingerprint=f"{facts['fingerprint']}:train")
        if self.cluster.is_first and number < len(self.streamed.files):
            check_ledgers({facts["file"]: encoded.ledger}, self.streamed.say)
            self.streamed.keep_keys(self.run, number, rows)
        return Part(self.streams(encoded), facts)


def _inputs_of(data: Splits) -> dict[str, str]:
    """By role the column that what is learned from was read from."""
    columns: Mapping[str, str] = data.facts["read"]["files"][0]["columns"]
    return {role: column for role, column in columns.items() if role in _INPUTS}


def _words(columns: Mapping[str, str]) -> str:
    return (
        " and ".join(f"{role} is read from {column}" for role, column in columns.items())
        or "there is nothing to learn from"
    )
