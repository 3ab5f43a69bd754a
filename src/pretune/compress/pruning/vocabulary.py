"""Tokens that a person's rows never use leave the tokenizer and the embeddings; what is left cuts these rows as before.

Special and added tokens stay, and what any text is spelled with: single characters (inside a word too), bytes. Why the rows
are cut as before:

- WordPiece takes the longest token that fits. What it took is still there, and nothing longer has come.
- BPE joins the pair of the lowest rank. Every token of the rows stays with the steps that made it, so the pair it joined is
  still there at each step, and no pair of a lower rank has come.
- Unigram takes the most probable path. It is still there with its probability, and no other path has come.

It is also checked on every row.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pretune.backbones.loading.processors import load_tokenizer
from pretune.errors import ModelError
from pretune.modalities.text.template import FastTokenizer, plain_backend

__all__ = ["keep_embeddings", "reduced_tokenizer"]

_BATCH = 1000
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_OTHER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "*.model")
_IDS = ("pad", "bos", "eos", "sep", "cls", "mask", "unk", "decoder_start")
_KEEP = "keep the vocabulary: --vocabulary keep"

Texts = Callable[[], Iterable[str]]


def reduced_tokenizer(tokenizer: FastTokenizer, texts: Texts) -> tuple[FastTokenizer, np.ndarray]:
    """A tokenizer that cuts ``texts()`` (called twice) as ``tokenizer`` does, without the tokens they do not use; and the old
    id of each token it has, int64, rising.

    Raises :class:`ModelError` for a tokenizer that cannot be reduced.
    """
    said = json.loads(plain_backend(tokenizer).to_str())
    model = said["model"]
    kind = model["type"]
    if kind not in _KEPT:
        raise ModelError(f"a vocabulary of the kind {kind} cannot be reduced (WordPiece, BPE and Unigram can)", _KEEP)
    used = {int(i) for ids in _encoded(tokenizer, texts()) for i in ids}
    vocabulary = _vocabulary(model)
    keep = used | {int(i) for i in tokenizer.all_special_ids} | {token["id"] for token in said["added_tokens"]}
    keep |= set(range((tokenizer.pad_token_id or 0) + 1))  # RoBERTa counts positions from the padding id
    keep |= {i for token, i in vocabulary.items() if _BYTE.fullmatch(token)}
    keep |= _KEPT[kind](model, vocabulary, keep)
    kept = np.array(sorted(keep), dtype=np.int64)
    new_ids = {int(old): new for new, old in enumerate(kept)}
    reduced = _rebuilt(tokenizer, _renumbered(said, vocabulary, new_ids), new_ids)
    _check(tokenizer, reduced, new_ids, texts())
    return reduced, kept


def _encoded(tokenizer: FastTokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """The ids of each text, uncut, special tokens left out."""
    backend, waiting = plain_backend(tokenizer), iter(texts)
    while batch := list(itertools.islice(waiting, _BATCH)):
        yield from (encoding.ids for encoding in backend.encode_batch_fast(batch, add_special_tokens=False))


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {token: number for number, (token, _) in enumerate(model["vocab"])}
    return model["vocab"]


def _wordpiece_needs(model: dict[str, Any], vocabulary: dict[str, int], keep: set[int]) -> set[int]:
    """Single characters, and every token that they do not spell: a text without unknown tokens shall have none after."""
    inside = model["continuing_subword_prefix"]

    def letters(token: str) -> list[str]:
        bare = token.removeprefix(inside)
        return [inside + c if place or token != bare else c for place, c in enumerate(bare)]

    return {i for token, i in vocabulary.items() if i not in keep and _is_needed(token, letters(token), vocabulary)}


def _is_needed(token: str, letters: list[str], vocabulary: dict[str, int]) -> bool:
    if token.startswith("[unused"):
        return False
    return len(letters) == 1 or any(letter not in vocabulary for letter in letters)


def _bpe_needs(model: dict[str, Any], vocabulary: dict[str, int], keep: set[int]) -> set[int]:
    """Single characters, and the steps by which the kept tokens are made."""
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ModelError("a BPE vocabulary that marks the inside or the end of words cannot be reduced", _KEEP)
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    needed = {i for token, i in vocabulary.items() if len(token) == 1}
    for token, i in vocabulary.items():
        if i in keep:
            needed.update(vocabulary[step] for step in _steps(token, ranks) if step in vocabulary)
    return needed


def _pair(merge: Any) -> tuple[str, str]:
    """A merge of tokenizer.json: a list of two, or both with a space between."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _steps(token: str, ranks: dict[tuple[str, str], int]) -> set[str]:
    """Everything that stands while a token is joined from its characters (Sennrich et al. 2016, arXiv 1508.07909, section 3.2)."""
    symbols, found = list(token), set(token)
    while len(symbols) > 1:
        pairs = list(itertools.pairwise(symbols))
        place = min(range(len(pairs)), key=lambda at: ranks.get(pairs[at], len(ranks)))
        if pairs[place] not in ranks:
            break
        symbols[place : place + 2] = ["".join(pairs[place])]
        found.add(symbols[place])
    return found


def _unigram_needs(model: dict[str, Any], vocabulary: dict[str, int], keep: set[int]) -> set[int]:
    """Single characters (after the mark of a word's beginning too), and the least probable token: what is unknown counts as
    less probable than that one."""
    least = min(range(len(model["vocab"])), key=lambda number: model["vocab"][number][1])
    characters = {i for token, i in vocabulary.items() if len(token.removeprefix("▁")) <= 1}
    return characters | {least} | ({model["unk_id"]} if model["unk_id"] is not None else set())


_KEPT: dict[str, Callable[[dict[str, Any], dict[str, int], set[int]], set[int]]] = {
    "WordPiece": _wordpiece_needs,
    "BPE": _bpe_needs,
    "Unigram": _unigram_needs,
}


def _renumbered(said: dict[str, Any], vocabulary: dict[str, int], new_ids: dict[int, int]) -> dict[str, Any]:
    """tokenizer.json with the kept tokens alone, under their new ids."""
    model = dict(said["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new_ids]
        model["unk_id"] = None if model["unk_id"] is None else new_ids[model["unk_id"]]
    else:
        model["vocab"] = {token: new_ids[i] for token, i in vocabulary.items() if i in new_ids}
    if model["type"] == "BPE":
        stays = set(model["vocab"])
        pairs = ((merge, _pair(merge)) for merge in model["merges"])
        model["merges"] = [merge for merge, (a, b) in pairs if {a, b, a + b} <= stays]
    added = [{**token, "id": new_ids[token["id"]]} for token in said["added_tokens"]]
    return {
        **said, "model": model, "added_tokens": added, "post_processor": _processed(said["post_processor"], new_ids)
    }  # fmt: skip


def _processed(processor: Any, new_ids: dict[int, int]) -> Any:
    """What puts special tokens around a row, with their new ids."""
    if processor is None:
        return None
    found = dict(processor)
    if "processors" in found:
        found["processors"] = [_processed(one, new_ids) for one in found["processors"]]
    if "special_tokens" in found:
        found["special_tokens"] = {
            name: {**token, "ids": [new_ids[i] for i in token["ids"]]}
            for name, token in found["special_tokens"].items()
        }
    for name in ("sep", "cls"):
        if name in found:
            found[name] = [found[name][0], new_ids[found[name][1]]]
    return found


def _rebuilt(tokenizer: FastTokenizer, said: dict[str, Any], new_ids: dict[int, int]) -> FastTokenizer:
    """A tokenizer of the same class from the changed files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer.save_pretrained(folder)
        for pattern in _OTHER_FILES:  # tokenizer.json says it all
            for path in folder.glob(pattern):
                path.unlink()
        (folder / "tokenizer.json").write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
        path = folder / "tokenizer_config.json"
        told = json.loads(path.read_text(encoding="utf-8"))
        if "added_tokens_decoder" in told:
            told["added_tokens_decoder"] = {
                str(new_ids[int(i)]): token for i, token in told["added_tokens_decoder"].items()
            }
        path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        return load_tokenizer(folder, False)


def _check(before: FastTokenizer, after: FastTokenizer, new_ids: dict[int, int], texts: Iterable[str]) -> None:
    """Raise :class:`ModelError` unless both cut each text alike and put the same special tokens around it."""
    old, new = itertools.tee(texts)
    pairs = zip(_encoded(before, old), _encoded(after, new), strict=True)
    probes = [plain_backend(one).encode("a", "b").ids for one in (before, after)]
    frames_alike = len(probes[0]) == len(probes[1]) and _specials(before, probes[0], new_ids) == _specials(
        after, probes[1], None
    )
    if len(after) != len(new_ids) or not frames_alike or any([new_ids[i] for i in a] != b for a, b in pairs):
        raise ModelError("the tokenizer does not cut texts as before once its vocabulary is reduced", _KEEP)


def _specials(tokenizer: FastTokenizer, ids: list[int], new_ids: dict[int, int] | None) -> list[int]:
    special = set(tokenizer.all_special_ids)
    return [i if new_ids is None else new_ids[i] for i in ids if i in special]


def keep_embeddings(model: nn.Module, kept: np.ndarray) -> None:
    """Leave the rows ``kept`` of the model's token embeddings, in place, and renumber its config's special tokens."""
    config: Any = model.config
    table: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
    new_ids = {int(old): new for new, old in enumerate(kept)}
    pad = None if table.padding_idx is None else new_ids[table.padding_idx]
    reduced = nn.Embedding(len(kept), table.embedding_dim, padding_idx=pad)
    with torch.no_grad():
        reduced.weight.copy_(table.weight[torch.from_numpy(kept)])
    model.set_input_embeddings(reduced)  # type: ignore[operator]
    config.vocab_size = len(kept)
    for name in (f"{role}_token_id" for role in _IDS):
        before = getattr(config, name, None)
        if isinstance(before, int):
            setattr(config, name, new_ids.get(before))
