"""The service, asked at random: by its own description (schemathesis), against it, and with bodies of any kind. Never a 500."""

from __future__ import annotations

import contextlib
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fuzz import EXAMPLES, LONGEST_SECONDS, SHORT_EXAMPLES, changed, in_a_process, seconds_to_fuzz, until
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from lab import Lab
from trials import Plan, Report, repeat

from serving import HERE, KINDS, asked, rows_for, sent, served_as

__all__ = ["fuzz_service"]

_WAYS = ("as described", "against the description", "any body")
_TYPES = (
    "application/json", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=b",
    "text/plain", "text/plain; charset=latin-1", "text/plain; charset=nothing", "image/png", "audio/wav", "application/octet-stream", "*/*", "", "a/b/c;;=",
)  # fmt: skip
_WORDS = st.sampled_from(
    ("text", "text_pair", "image", "audio", "rows", "inputs", "id", "label", "tests", "turns", "file", "")
) | st.text(max_size=5)
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from((10**400, "data:image/png;base64,", "data:,x", "\ud800", "\0", " "))
)  # fmt: skip
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4), max_leaves=12
)


def fuzz_service(lab: Lab, plan: Plan) -> Report:
    """Every request is answered, or refused with what is wrong; none is a defect, and what is answered is as described."""
    count = EXAMPLES if plan.full else SHORT_EXAMPLES
    cases = [(kind, way) for kind in KINDS for way in _WAYS]

    def trial(rng: random.Random, folder: Path) -> dict[str, Any]:
        kind, way = cases[int(folder.name) % len(cases)] if plan.full else rng.choice(cases)
        number = rng.getrandbits(32)
        told = in_a_process(
            lambda tell: _asked(kind, way, number, count, tell), folder, LONGEST_SECONDS * 3 + 2 * count
        )
        return {"of": f"{kind}, {way}", **told}

    promise = "no request is a defect, and every refusal says what is wrong and what to do"
    return repeat(lab, plan, "fuzz-service", promise, until(seconds_to_fuzz(plan), plan), trial)


def _asked(kind: str, way: str, number: int, count: int, tell: Callable[..., None]) -> None:
    logging.disable(logging.CRITICAL)
    defects: list[Exception] = []
    tally: dict[str, int] = {}
    how = settings(
        max_examples=count, deadline=None, database=None, derandomize=False, print_blob=False, report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def note(found: Any) -> None:
        word = f"{found.status_code // 100}xx"
        tally[word] = tally.get(word, 0) + 1
        assert not defects, defects
        _is_an_answer(found)

    with asked(served_as(kind), on_defect=defects.append) as (client, _):
        for attempt in _ways(kind, way, client, note):
            seed(number)(how(attempt))()
    tell(requests=sum(tally.values()), **tally)


def _ways(kind: str, way: str, client: Any, note: Callable[[Any], None]) -> Iterator[Callable[..., None]]:
    if way == "any body":
        yield _any_body(kind, client, note)
        return
    import schemathesis

    mode = schemathesis.GenerationMode.POSITIVE if way == "as described" else schemathesis.GenerationMode.NEGATIVE
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.method.upper() == "GET" and way != "as described":
            continue  # it takes nothing that could be wrong

        @given(case=operation.as_strategy(generation_mode=mode))
        def attempt(case: Any) -> None:
            note(_sent(client, case))

        yield attempt


def _sent(client: Any, case: Any) -> Any:
    """The answer to a case, which must be of the kind that the description tells."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    words = case.as_transport_kwargs(base_url=HERE)
    words.pop("cookies", None)
    if words.get("files"):  # httpx sends no numbers
        words["files"] = [(name, (file[0], file[1] if isinstance(file[1], bytes | str) else str(file[1]), *file[2:])) for name, file in words["files"]]  # fmt: skip
    request = client.build_request(**words)
    request.read()
    found = client.send(request)
    promised = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    case.validate_response(found, checks=promised)
    return found


def _any_body(kind: str, client: Any, note: Callable[[Any], None]) -> Callable[..., None]:
    whole = {"rows": [sent(row) for row in rows_for(kind, 2)]}
    valid = [json.dumps(whole).encode(), json.dumps(whole["rows"][0]).encode()]
    forms = [b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n--b--\r\n', b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n\x89PNG\r\n--b--\r\n']  # fmt: skip
    bodies = st.one_of(
        st.binary(max_size=60),
        _JSON.map(_as_json),
        st.tuples(st.sampled_from(valid + forms), st.integers(0, 9999), st.integers(0, 255)).map(lambda one: changed(one[0], "set", one[1], one[2])),
        st.tuples(st.sampled_from(valid + forms), st.integers(0, 9999), st.integers(1, 200)).map(lambda one: changed(one[0], "cut", one[1], one[2])),
        st.tuples(st.sampled_from(valid + forms), st.integers(0, 9999), st.integers(0, 20)).map(lambda one: changed(one[0], "token", one[1], one[2])),
    )  # fmt: skip
    targets = st.sampled_from(
        ("/predict", "/predict", "/explain", "/explain", "/health", "/", "/openapi.json", "/nothing")
    )
    verbs = st.sampled_from(("POST", "POST", "POST", "POST", "PUT", "GET", "DELETE", "OPTIONS", "HEAD"))
    headers = st.dictionaries(st.sampled_from(("Host", "Origin", "Accept", "Authorization", "Content-Encoding", "Transfer-Encoding", "X-Y")), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12), max_size=2)  # fmt: skip

    @given(
        bodies,
        st.sampled_from(_TYPES) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
        targets,
        verbs,
        headers,
    )
    def attempt(body: bytes, content_type: str, target: str, verb: str, more: Mapping[str, str]) -> None:
        note(client.request(verb, target, content=body, headers={"Content-Type": content_type, **more}))

    return attempt


def _as_json(value: Any) -> bytes:
    with contextlib.suppress(ValueError):  # a number of more digits than Python writes
        return json.dumps(value).encode("utf-8", "surrogatepass")
    return b"1" * 5000


def _is_an_answer(found: Any) -> None:
    assert found.status_code not in (500, 502), found.text[:500]
    if found.status_code < 400 or found.request.method == "HEAD":
        return
    told = found.json()
    assert str(told["error"]).strip(), told
    assert str(told["fix"]).strip(), told
    assert "defect" not in told["error"], told
