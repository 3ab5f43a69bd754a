"""Conversations as tokens by a chat template, and which of these are learned: the answers and the marks that end them.

The template is rendered once with a sign in place of each turn's text, so that it is known which letters of the whole are said by whom;
the whole is cut into tokens as transformers' ``apply_chat_template`` does, and a token is learned where it holds a letter of an answer
or stands between an answer and its end. ``return_assistant_tokens_mask`` cannot do this: it wants ``{% generation %}`` in the template,
and learns nothing of an answer that begins with a space. What people type is text: where it spells a control token, the texts are cut
apart from the marks around them. Shapes: T tokens of a conversation.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pretune.errors import DataError, ModelError
from pretune.modalities.text.chat_tokens import OUTSIDE, ChatTokens, Turns, fitted_prompt, parts_by_gaps, shorter
from pretune.modalities.text.encoder import READING, Ledger, Padding, TextEncoder, TextPiece
from pretune.modalities.text.template import FastTokenizer, plain_backend

__all__ = ["PLAIN_TEMPLATE", "Chat", "ChatEncoder", "give_template"]

PLAIN_TEMPLATE = (
    "{% set start = bos_token or eos_token %}"
    "{% for message in messages %}{{ start + message['role'] + '\n' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ start + 'assistant\n' }}{% endif %}"
)
"""For models without one: each turn between the marks that begin and end a text, its role on a line of its own. It takes no new tokens, and
no text can pretend to be a turn, as texts make no marks.
"""
_SIGN = re.compile("\ue000(\\d+)\ue001")
_MOST_BYTES = 254
_ANSWER = "assistant"
_ONE = [{"role": "user", "content": "How do you do?"}, {"role": _ANSWER, "content": "Well, thank you."}]
_ASKED = [(*system, *exchanges * ("user", _ANSWER), "user") for system in ((), ("system",)) for exchanges in range(5)]
"""Roles of conversations that are asked about."""
_PROBES = (_ONE, [*_ONE, {"role": "user", "content": "你好 42"}, {"role": _ANSWER, "content": "Ça va!"}])


class Chat(NamedTuple):
    """A conversation as tokens: ``input_ids`` int32 (T,), ``learned_T`` uint8: 0 for a token that is only read, else 1 and the bytes of the
    answer that it adds. ``spans_T`` (T, 2) are the places of the tokens in ``text``, ``owners_T`` the turn that each is of (-1: a mark).
    """

    input_ids: np.ndarray
    learned_T: np.ndarray
    text: str
    spans_T: np.ndarray
    owners_T: np.ndarray


class _Rendered(NamedTuple):
    """``parts``: the text, and the turn whose text it is (-1: the template's own)."""

    parts: list[tuple[str, int]]

    @property
    def whole(self) -> str:
        return "".join(text for text, _ in self.parts)


def give_template(tokenizer: FastTokenizer) -> None:
    """Give the tokenizer the plain template where it has none; it is saved with it. Raises :class:`ModelError` where it cannot be."""
    told: Any = tokenizer
    if told.chat_template:
        return
    if tokenizer.eos_token is None:
        raise ModelError(
            "the tokenizer has no token that ends a text, by which a turn could end",
            "choose a model whose tokenizer has one, such as scratch:llama-tiny",
        )
    told.chat_template = PLAIN_TEMPLATE


class ChatEncoder:
    """Conversations to tokens, of at most ``max_length``, by the tokenizer's template.

    Of a longer one the first exchanges go, the turn of the system stays; what is longer still loses the end of its last question, then
    of its answer. ``end`` are the ids that end an answer. Raises :class:`ModelError` for a template that does not end its turns, leaves
    out or changes what is said, or makes other tokens than transformers makes by it.
    """

    segments = True  # the store of tokens keeps what is learned where it keeps segment ids

    def __init__(self, tokenizer: FastTokenizer, *, max_length: int) -> None:
        give_template(tokenizer)
        self.tokenizer, self.max_length = tokenizer, max_length
        self._plain = TextEncoder(tokenizer, max_length=max_length, segments=False)
        self._cutter = ChatTokens(json.loads(plain_backend(tokenizer).to_str()))
        self._signed: dict[tuple[tuple[str, ...], bool], list[tuple[str, int]]] = {}
        self.end = self._ends()
        self._check()

    @property
    def template(self) -> str:
        """The template."""
        told: Any = self.tokenizer
        return told.get_chat_template()

    @property
    def padding(self) -> Padding:
        """How batches are padded: behind the rows."""
        return dataclasses.replace(self._plain.padding, left=False)

    def identity(self) -> str:
        """A hash of all that decides the ids."""
        said = json.dumps(["chat", READING, self._cutter.whole.to_str(), self.template, self.max_length])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def pieces_identity(self) -> str:
        """A hash of all that decides which tokens a conversation that fits has."""
        said = json.dumps(["chat", READING, self._cutter.whole.to_str(), self.template])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def encode(
        self, texts: Sequence[Any], pairs: Sequence[str] | None = None, *, ids: Sequence[str], ledger: Ledger
    ) -> list[list[TextPiece]]:
        """One piece a conversation (``texts`` are lists of turns), with what is learned in place of segment ids."""
        found = []
        for row, turns in zip(ids, texts, strict=True):
            chat, lost = self.fitted(turns) if turns[-1]["role"] == _ANSWER else self._unanswered(turns)
            unknown = 0 if self.tokenizer.unk_token_id is None else int((chat.input_ids == self.tokenizer.unk_token_id).sum())  # fmt: skip
            ledger.rows += 1
            ledger.pieces += 1
            ledger.tokens += len(chat.input_ids)
            ledger.unknown_tokens += unknown
            ledger.unknown_rows += unknown > 0
            if lost:
                ledger.add_lost(row, lost)
            found.append([TextPiece(chat.input_ids, chat.learned_T)])
        return found

    def _unanswered(self, turns: Turns) -> tuple[Chat, int]:
        ids_T, _ = self.prompt(turns)
        nothing = np.zeros(len(ids_T), dtype=np.int32)
        return Chat(ids_T, nothing.astype(np.uint8), "", np.zeros((len(ids_T), 2), dtype=np.int32), nothing - 1), 0

    def tokens_of(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The token ids of each text alone: int32."""
        return self._plain.tokens_of(texts)

    def tokenizer_to_save(self) -> Any:
        """A copy that transformers reads with its defaults: marks of the template are found in what it renders. There ``apply_chat_template``
        has ``sanitize_control_tokens`` against marks that people type; pretune reads the saved tokenizer as any other, texts as texts.
        """
        saved: Any = copy.deepcopy(self.tokenizer)
        saved.split_special_tokens = False
        saved.init_kwargs["split_special_tokens"] = False
        return saved

    def fitted(self, turns: Turns) -> tuple[Chat, int]:
        """A conversation that ends in an answer, within the context, and how many of its tokens are not."""
        chat = self.chat(turns)
        whole = len(chat.input_ids)
        for fewer in shorter(turns, tail=2):
            if len(chat.input_ids) <= self.max_length:
                break
            turns, chat = fewer, self.chat(fewer)
        chat = _cut(chat, len(turns), self.max_length)
        return chat, whole - len(chat.input_ids)

    def prompt(self, turns: Turns, *, room: int = 1) -> tuple[np.ndarray, int]:
        """The ids of a conversation that is to be answered, with ``room`` for so many tokens behind it, and how many of its turns are left
        out for that. Raises :class:`DataError` where its last turn alone leaves none.
        """
        ids, left_out = fitted_prompt(turns, self._asked, self.max_length, room)
        if len(ids) >= self.max_length:
            raise DataError(
                f"its last turn has {len(ids)} tokens with its marks, and the model's context holds {self.max_length}, question and answer together",
                "shorten it",
            )
        return np.array(ids, dtype=np.int32), left_out

    def _asked(self, turns: Turns) -> list[int]:
        return self._cutter.tokens(self._rendered(turns, ask=True).parts)[0]

    def chat(self, turns: Turns) -> Chat:
        """All of a conversation as tokens, however long."""
        rendered = self._rendered(turns, ask=False)
        ids, spans = self._cutter.tokens(rendered.parts)
        owner_C, answers = _letters(rendered, turns)
        learned_T, owners_T = np.zeros(len(ids), dtype=np.uint8), np.full(len(ids), -1, dtype=np.int32)
        for place, (start, stop) in enumerate(spans):
            inside = owner_C[start:stop]
            owners_T[place] = max(inside, default=-1)
        for start, stop in answers:
            _learn(ids, spans, rendered.whole, start, stop, {*self.end}, learned_T)
        return Chat(np.array(ids, dtype=np.int32), learned_T, rendered.whole, np.array(spans, dtype=np.int32), owners_T)

    def portable(self) -> dict[str, Any]:
        """The template as data: ``gaps``, its own texts between two turns by their roles, and whether it ``strips`` what is said.

        Raises :class:`ModelError` for a template that says something else of a turn by its place.
        """
        gaps: dict[str, dict[str, str]] = {}
        for roles in _ASKED:
            try:
                parts = self._parts(roles, ask=True)
            except ModelError:
                if roles[0] != "system":  # some templates take no turn of the system
                    raise
                continue
            own = [text for text, owner in parts if owner < 0]
            for text, before, behind in zip(own, (OUTSIDE, *roles), (*roles, OUTSIDE), strict=True):
                if gaps.setdefault(before, {}).setdefault(behind, text) != text:
                    raise ModelError(
                        f"the chat template does not treat all turns alike ({gaps[before][behind][:40]!r} before one, {text[:40]!r} before another), "
                        "so that a program without it could not follow it",
                        "take another chat_template into the folder of the tokenizer; `pretune serve RUN` runs it as it is",
                    )
        told = [{"role": "user", "content": " a "}]
        return {"gaps": gaps, "strips": self._rendered(told, ask=True).parts != parts_by_gaps(told, gaps, str)}

    def _rendered(self, turns: Turns, *, ask: bool) -> _Rendered:
        """Raises :class:`ModelError` for a template that says something else than the turns."""
        roles = tuple(turn["role"] for turn in turns)
        if (roles, ask) not in self._signed:
            self._signed[roles, ask] = self._parts(roles, ask=ask)
        parts = self._signed[roles, ask]
        whole = self._render([dict(turn) for turn in turns], ask=ask)
        for change in (str, str.strip):
            found = _Rendered([(change(turns[owner]["content"]) if owner >= 0 else text, owner) for text, owner in parts])  # fmt: skip
            if found.whole == whole:
                return found
        raise ModelError(
            "the chat template changes what is said in a turn, so that it cannot be told which tokens are answers",
            "take another chat_template into the folder of the tokenizer, or none: a plain one is used then",
        )

    def _parts(self, roles: Sequence[str], *, ask: bool) -> list[tuple[str, int]]:
        """The template's own texts and the turns between them."""
        signed = [{"role": role, "content": f"\ue000{place}\ue001"} for place, role in enumerate(roles)]
        split = _SIGN.split(self._render(signed, ask=ask))
        owners = [int(number) for number in split[1::2]]
        if owners != list(range(len(roles))):
            raise ModelError(
                f"the chat template shows the turns {owners} of a conversation of {len(roles)} ({', '.join(roles)})",
                "leave such turns out of the data, or take another chat_template into the folder of the tokenizer",
            )
        return [(text, -1) if place % 2 == 0 else ("", int(text)) for place, text in enumerate(split)]

    def _render(self, turns: list[dict[str, str]], *, ask: bool) -> str:
        from jinja2 import TemplateError

        told: Any = self.tokenizer
        try:
            return told.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise ModelError(
                f"the chat template refuses a conversation of {roles}: {str(error)[:200]}",
                "leave such turns out of the data, or take another chat_template into the folder of the tokenizer",
            ) from None

    def _ends(self) -> tuple[int, ...]:
        """The mark behind an answer, and the tokenizer's own end. Raises :class:`ModelError` for a template without one."""
        rest = self._parts([turn["role"] for turn in _ONE], ask=False)[-1][0]
        found = self._cutter.spelled.search(rest)
        if found is None:
            raise ModelError(
                f"the chat template puts no control token behind an answer (it ends in {rest[:40]!r}), so that the model could not learn to end one",
                "take another chat_template into the folder of the tokenizer, or none: a plain one is used then",
            )
        ends = dict.fromkeys([self._cutter.marks[found[0]], self.tokenizer.eos_token_id])
        return tuple(one for one in ends if one is not None)

    def _check(self) -> None:
        """Raise :class:`ModelError` where transformers makes other tokens of a conversation."""
        told: Any = self.tokenizer
        split, told.split_special_tokens = told.split_special_tokens, False
        try:
            for turns in _PROBES:
                self._backend_of_theirs(False)
                theirs = told.apply_chat_template(turns, tokenize=True, return_dict=False)
                ours = self.chat(turns).input_ids.tolist()
                if list(theirs) != ours:
                    raise ModelError(
                        f"transformers makes other tokens by the chat template: {list(theirs)[:8]} ..., here {ours[:8]} ...",
                        "take another chat_template into the folder of the tokenizer, or none: a plain one is used then",
                    )
        finally:
            told.split_special_tokens = split
            self._backend_of_theirs(True)

    def _backend_of_theirs(self, spells: bool) -> None:
        self.tokenizer.backend_tokenizer.encode_special_tokens = spells


def _letters(rendered: _Rendered, turns: Turns) -> tuple[list[int], list[tuple[int, int]]]:
    """The turn of each letter of the whole, -1 for the template's; and where the answers begin and end."""
    owners: list[int] = []
    answers = []
    for text, owner in rendered.parts:
        if owner >= 0 and turns[owner]["role"] == _ANSWER:
            answers.append((len(owners), len(owners) + len(text)))
        owners += [owner] * len(text)
    return owners, answers


def _learn(
    ids: Sequence[int], spans: Sequence[tuple[int, int]], whole: str, start: int, stop: int, ends: set[int], learned_T: np.ndarray
) -> None:  # fmt: skip
    """Mark the tokens of the answer at ``start`` to ``stop``, with the bytes that each adds, and those up to its end mark."""
    told = start
    for place, (first, last) in enumerate(spans):
        if last <= start or (first >= stop and first == last):
            continue
        if first < stop:
            own = whole[max(told, first) : min(last, stop)] if last > told else ""
            told = max(told, min(last, stop))
            learned_T[place] = 1 + min(_MOST_BYTES, len(own.encode()))
            continue
        learned_T[place] = 1
        if ids[place] in ends:
            return


def _cut(chat: Chat, num_turns: int, most: int) -> Chat:
    """The conversation within ``most`` tokens: its last question loses its end, down to half of the room, then its answer."""
    over = len(chat.input_ids) - most
    if over <= 0:
        return chat
    question = np.flatnonzero(chat.owners_T == num_turns - 2)
    marks = int((chat.owners_T == -1).sum())
    dropped = min(over, max(0, len(question) - max(1, (most - marks) // 2)))
    keep_T = np.ones(len(chat.input_ids), dtype=bool)
    keep_T[question[len(question) - dropped :]] = False
    kept = np.flatnonzero(keep_T)[:most]
    return Chat(chat.input_ids[kept], chat.learned_T[kept], chat.text, chat.spans_T[kept], chat.owners_T[kept])
