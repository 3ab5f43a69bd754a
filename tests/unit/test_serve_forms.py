"""Requests in other forms than pretune's own: uploads of ``curl -F`` and of browsers, ``inputs`` as Hugging Face sends it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pretune.serve.forms import form_rows
from pretune.serve.limits import Limits
from pretune.serve.problems import Problem
from serving import asked, rows_for, sent, served_as

BOUNDARY = "----xyz"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(*parts: tuple[str, bytes], end: str = "--\r\n") -> bytes:
    """A body of parts: what stands in Content-Disposition behind form-data, and the value."""
    head = "--{}\r\nContent-Disposition: form-data{}\r\nContent-Type: application/octet-stream\r\n\r\n"
    made = b"".join(head.format(BOUNDARY, told).encode() + value + b"\r\n" for told, value in parts)
    return made + f"--{BOUNDARY}{end}".encode()


def rows(*parts: tuple[str, bytes], fields: tuple[str, ...] = ("text",), **options: Any) -> list[dict[str, Any]]:
    return form_rows(form(*parts, **options), f" boundary={BOUNDARY}", fields, 4)


ODD = b"\r\n--xyz\r\n\x00\xff--\r\n\r\n"


@pytest.mark.parametrize("name", ["image", "file", "files", "inputs"])
def test_a_file_is_a_row_with_its_bytes_and_its_name(name: str) -> None:
    assert rows((f'; name="{name}"; filename="a b.png"', ODD), fields=("image",)) == [{"id": "a b.png", "image": ODD}]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ('; name=file; filename="r\u00e9sum\u00e9 \u56fe.png"', "r\u00e9sum\u00e9 \u56fe.png"),
        ('; name="file"; filename*=UTF-8\'\'%e5%9b%be.png; filename="x.png"', "\u56fe.png"),
        ('; filename="C:\\\\fake\\\\p.png"; name="file"', "p.png"),
        ('; name="file"; filename="../../etc/p.png"', "p.png"),
        ('; name="file"; filename="a\\"b.png"', 'a"b.png'),
    ],
)
def test_names_of_files(told: str, name: str) -> None:
    assert rows((told, b"x"), fields=("image",))[0]["id"] == name


def test_several_rows_and_pairs() -> None:
    two = rows(('; name="text"', b"a"), ('; name="text_pair"', b"b"), ('; name="text"', b"c"), ('; name="text_pair"', b"d"), fields=("text", "text_pair"))  # fmt: skip
    assert two == [{"text": "a", "text_pair": "b"}, {"text": "c", "text_pair": "d"}]
    same = rows(('; name="file"; filename="p"', b"1"), ('; name="file"; filename="p"', b"2"), fields=("image",))
    assert same == [{"image": b"1"}, {"image": b"2"}], "equal names are no ids"
    assert rows(('; name="id"', b"7"), ('; name="text"', "\u4f60".encode())) == [{"id": "7", "text": "\u4f60"}]


@pytest.mark.parametrize(
    ("body", "parameters", "status", "said"),
    [
        (form(), "", 400, "no boundary"),
        (form(('; name="text"', b"a"), end=""), f"boundary={BOUNDARY}", 400, "does not end"),
        (b"nonsense", f"boundary={BOUNDARY}", 400, "does not end"),
        (form(("", b"a")), f"boundary={BOUNDARY}", 400, "no name"),
        (f"--{BOUNDARY}\r\nrubbish--{BOUNDARY}--".encode(), f"boundary={BOUNDARY}", 400, "does not end"),
        (f"--{BOUNDARY}\r\nrubbish\r\n--{BOUNDARY}--".encode(), f"boundary={BOUNDARY}", 400, "no headers"),
        (form(*[('; name="text"', b"a")] * 9), f"boundary={BOUNDARY}", 413, "too many parts"),
        (form(('; name="txt"', b"a")), f"boundary={BOUNDARY}", 422, '"txt"'),
        (form(('; name="id"', b"a")), f"boundary={BOUNDARY}", 422, '1 of "id" and 0 of "text"'),
        (form(('; name="text"', b"\xff")), f"boundary={BOUNDARY}", 400, "not UTF-8"),
        (
            form(('; name="text"\r\nContent-Transfer-Encoding: base64', b"YQ==")), f"boundary={BOUNDARY}", 415, "encoded once more",
        ),
    ],
)  # fmt: skip
def test_forms_that_are_refused(body: bytes, parameters: str, status: int, said: str) -> None:
    with pytest.raises(Problem, match=said) as caught:
        form_rows(body, parameters, ("text",), 4)
    assert caught.value.status == status


@pytest.mark.parametrize("kind", ["image", "sound"])
def test_a_form_is_answered_as_json_is(kind: str) -> None:
    row = rows_for(kind, 1)[0]
    field = "image" if kind == "image" else "audio"
    with asked(served_as(kind)) as (client, _):
        wanted = client.post("/predict", json={**sent(row), "id": "p"}).json()["rows"]
        files = {"file": ("p", row[field]["bytes"], "application/octet-stream")}
        assert client.post("/predict", files=files).json()["rows"] == wanted
        assert client.post("/explain", files=files).status_code == 200
        assert client.post("/predict?id=own", files=files).json()["rows"][0]["id"] == "own"


def test_texts_in_forms_and_as_inputs_are_answered_as_rows_are() -> None:
    with asked(served_as("text"), Limits(rows=3)) as (client, _):
        two = [{"text": "the striker scored"}, {"text": "the bank"}]
        wanted = client.post("/predict", json={"rows": two}).json()["rows"]

        def found(body: Any) -> Any:
            return client.post("/predict", json=body).json()["rows"]

        def alike(rows: Any, others: Any) -> bool:
            """But for the last digits, which depend on what else is in a batch."""
            return [{**row, "probabilities": pytest.approx(row["probabilities"], abs=1e-6)} for row in rows] == others

        assert alike(found({"inputs": "the striker scored"}), wanted[:1])
        assert alike(
            found({"inputs": [row["text"] for row in two], "parameters": {}, "options": {"use_cache": False}}), wanted
        )
        assert alike(found({"inputs": two}), wanted)
        typed = client.post("/predict", files=[("text", (None, row["text"])) for row in two])
        assert alike(typed.json()["rows"], wanted)
        refused = {
            '{"inputs": "a", "parameters": {"top_k": 2}}': "takes no parameters",
            '{"inputs": "a", "model": "b"}': '"model" stands beside "inputs"',
            '{"inputs": []}': "an empty list",
            '{"inputs": [1]}': 'a number as "text"',
            '{"inputs": null}': 'lacks the field "text"',
        }
        for body, said in refused.items():
            reply = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
            assert (reply.status_code, said in reply.json()["error"]) == (422, True), reply.text
        assert client.post("/predict", json={"inputs": ["a"] * 4}).status_code == 413


def test_pairs_and_files_as_inputs() -> None:
    with asked(served_as("pairs")) as (client, _):
        pair = {"text": "a", "text_pair": "b"}
        wanted = client.post("/predict", json=pair).json()["rows"]
        for inputs in (pair, [pair], [["a", "b"]]):
            assert client.post("/predict", json={"inputs": inputs}).json()["rows"] == wanted
        assert client.post("/predict", json={"inputs": "a"}).status_code == 422
    row = rows_for("image", 1)[0]
    with asked(served_as("image")) as (client, _):
        packed = base64.b64encode(row["image"]["bytes"]).decode()
        wanted = client.post("/predict", json={"image": packed}).json()["rows"]
        assert client.post("/predict", json={"inputs": packed}).json()["rows"] == wanted


def test_the_description_says_so() -> None:
    for kind in ("text", "pairs", "image", "speech"):
        with asked(served_as(kind)) as (client, _):
            content = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert "multipart/form-data" in content
        assert "inputs" in json.dumps(content["application/json"])
