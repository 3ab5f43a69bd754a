"""The service in this process: every endpoint for every kind of model, and every refusal."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from clocks import HANG_SECONDS, clock_of
from pretune.explain import patience
from pretune.serve.app import Served, make_app
from pretune.serve.guard import HEADERS
from pretune.serve.limits import Limits
from pretune.tasks.predicting import example_of, predict_items
from serving import HERE, KINDS, Held, asked, rows_for, sent, served_as
from tiny import CPU, LABELS

JSON = {"Content-Type": "application/json"}


def expected(served: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a predictions file, by the way that ``pretune predict`` takes."""
    task = served.task
    items = [item for place, row in enumerate(rows) for item in task.encode(example_of(row, str(place)))]
    records = [task.record(found) for found in predict_items(task, served.model, items, CPU)]
    honest = task.calibrated(records)
    return [
        {**record, "id": row["id"]} for record, row in zip(records if honest is None else honest, rows, strict=True)
    ]


def alike(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Equal but for the last digits of float32: the rows may have met in other batches."""
    assert [{**row, "probabilities": None} for row in found] == [{**row, "probabilities": None} for row in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.get("probabilities", {}) == pytest.approx(other.get("probabilities", {}), abs=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_predict(kind: str):
    served, rows = served_as(kind), rows_for(kind, 7)
    with asked(served) as (client, _):
        found = client.post("/predict", json={"rows": [sent(row) for row in rows]})
    assert found.status_code == 200, found.text
    assert found.json()["milliseconds"] > 0
    alike(found.json()["rows"], expected(served, rows))


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("text", "text/plain"), ("text", "text/plain; charset=UTF-8"), ("image", "image/png"),
        ("image", "application/octet-stream"), ("sound", "audio/wav"), ("speech", "audio/x-wav"),
    ],
)  # fmt: skip
def test_one_row_as_it_is(kind: str, content_type: str):
    served, row = served_as(kind), rows_for(kind, 1)[0]
    body = row["text"].encode() if kind == "text" else row["image" if kind == "image" else "audio"]["bytes"]
    with asked(served) as (client, _):
        found = client.post("/predict?id=a%20b", content=body, headers={"Content-Type": content_type})
    assert found.status_code == 200, found.text
    alike(found.json()["rows"], expected(served, [{**row, "id": "a b"}]))


def test_a_row_alone_a_data_address_and_ids():
    served, row = served_as("image"), rows_for("image", 1)[0]
    held = base64.b64encode(row["image"]["bytes"]).decode()
    with asked(served) as (client, _):
        alone = client.post("/predict", json={"image": f"data:image/png;base64,{held[:30]}\n {held[30:]}"}).json()[
            "rows"
        ]
        several = client.post("/predict", json={"rows": [{"image": held}, {"id": 7, "image": held}]}).json()["rows"]
    assert [record["id"] for record in (*alone, *several)] == ["1", "1", "7"]
    alike(alone, several[:1])


def test_health_says_what_is_served():
    with asked(served_as("text-labels")) as (client, _):
        client.post("/predict", json={"rows": [{"text": "one"}, {"text": "two"}]})
        found = client.get("/health").json()
    assert found["ready"] is True
    assert (found["task"], found["labels"], found["answer"]) == ("text-multilabel-classification", [*LABELS], "labels")
    assert (found["answered"], found["waiting"], found["explains"]) == (2, 0, True)
    assert found["limits"]["rows"] == 256
    assert found["uptime_seconds"] >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_explanations(kind: str):
    row = sent(rows_for(kind, 1)[0])
    with asked(served_as(kind)) as (client, _):
        found = client.post("/explain", json=row)
        answer = client.post("/predict", json=row).json()["rows"][0]
    assert found.status_code == 200, found.text
    made = found.json()["explanation"]
    if kind == "speech":
        assert made["explained"] == answer["text"] == found.json()["row"]["text"]
    else:
        assert found.json()["row"]["probabilities"] == pytest.approx(answer["probabilities"], abs=2e-6)
        assert made["explained"] == max(answer["probabilities"], key=answer["probabilities"].__getitem__)
    assert made["faithfulness"] is None
    assert made["heat"] if kind.startswith("image") else len(made["scores"]) > 1


def test_explaining_another_label_and_testing_it():
    with asked(served_as("text")) as (client, _):
        row = {"text": "the striker scored twice against the league champions"}
        found = client.post("/explain?label=money&test=true", json=row).json()["explanation"]
        unknown = client.post("/explain?label=weather", json=row)
        wrong = client.post("/explain?test=perhaps", json=row)
        empty = client.post("/explain", json={"text": " "})
        two = client.post("/explain", json={"rows": [row, row]})
    assert found["explained"] == "money"
    assert found["faithfulness"]["orders"] == 3
    assert [reply.status_code for reply in (unknown, wrong, empty, two)] == [422] * 4
    assert "weather" in unknown.json()["error"]


def test_a_model_that_cannot_be_explained_says_so():
    served = dataclasses.replace(
        served_as("text"), explain=None, unexplained=("it cannot be explained", "ask for labels")
    )
    with asked(served) as (client, _):
        found = client.post("/explain", json={"text": "the striker"})
    assert found.status_code == 501
    assert found.json() == {"error": "it cannot be explained", "fix": "ask for labels"}


class Slow(torch.nn.Module):
    """A model that takes its time for every row, where no gradients are asked for: ``wait`` is told the seconds."""

    def __init__(self, model: Any, seconds: float, wait: Callable[[float], None]) -> None:
        super().__init__()
        self.model, self.seconds, self.wait, self.batches, self.config = model, seconds, wait, 0, model.config

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.model.get_input_embeddings()

    def forward(self, **inputs: torch.Tensor) -> Any:
        self.batches += 1
        self.wait(0.0 if torch.is_grad_enabled() else self.seconds * len(inputs["input_ids"]))
        return self.model(**inputs)


def slow(seconds: float, explain_seconds: float, wait: Callable[[float], None]) -> tuple[Served, Slow]:
    made = served_as("text", explain_seconds=explain_seconds, around=lambda model: Slow(model, seconds, wait))
    return made, made.model  # type: ignore[return-value]


def test_an_explanation_that_takes_too_long_is_given_up_and_others_are_answered(monkeypatch: pytest.MonkeyPatch):
    served, model = slow(0.1, 0.15, clock_of(monkeypatch, patience).sleep)
    row = {"text": "the striker scored twice against the league champions"}
    with asked(served) as (client, _):
        found = client.post("/explain?test=true", json=row)
        after = model.batches
        answer = client.post("/predict", json=row)
        health = client.get("/health").json()
    assert found.status_code == 503
    assert "0.15 seconds" in found.json()["error"]
    assert "--explain-seconds" in found.json()["fix"]
    assert after <= 5
    assert answer.status_code == 200
    assert health["limits"]["explain_seconds"] == 10.0


def test_what_there_is_no_time_for_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch):
    served, _ = slow(0.05, 1.2, clock_of(monkeypatch, patience).sleep)
    with asked(served) as (client, _):
        found = client.post("/explain?test=true", json={"text": "the striker scored twice " * 12})
    assert found.status_code == 200, found.text
    made = found.json()["explanation"]
    assert len(made["scores"]) > 10
    assert made["faithfulness"] is None
    assert "There was no time for the deletion test within 1.2 seconds." in made["notes"]


def test_an_explanation_that_nobody_waits_for_is_given_up():
    """The model is held at its fifth batch until the client was told that there is no answer."""
    told = threading.Event()
    served, model = slow(1.0, 60.0, lambda _: model.batches < 5 or told.wait(HANG_SECONDS))
    with asked(served, Limits(seconds=1.0)) as (client, service):
        found = client.post("/explain?test=true", json={"text": "the striker scored twice " * 12})
        assert found.status_code == 503
        told.set()
        service.worker.close()
    assert model.batches <= 6


REFUSED = [
    ("text", JSON, b"{", 400, "not JSON", "quotes"),
    ("text", JSON, b"", 400, "not JSON", "quotes"),
    ("text", JSON, b'{"rows": [{"text": NaN}]}', 400, "NaN is not a number of JSON", ""),
    ("text", JSON, b'{"text": -Infinity}', 400, "-Infinity is not", ""),
    ("text", JSON, b'{"text": "\xff"}', 400, "byte 10 is not UTF-8", "UTF-8"),
    ("text", JSON, b"[" * 100_000, 400, "not JSON", ""),
    ("text", JSON, b'{"id": ' + b"9" * 5000 + b', "text": "a"}', 400, "too long", ""),
    ("text", JSON, b"[1, 2]", 422, "row 1 is a number, not an object", '"rows"'),
    ("text", JSON, b"3", 422, "a number where rows should be", '"rows"'),
    ("text", JSON, b'{"rows": []}', 422, "an empty list of rows", '"rows"'),
    ("text", JSON, b'{"rows": {"text": "a"}}', 422, "an object where rows", '"rows"'),
    ("text", JSON, b'{"rows": [{"text": "a"}], "model": 1}', 422, '"model" stands beside "rows"', ""),
    ("text", JSON, b'{"rows": [{"text": "a"}, {"txt": "b"}]}', 422, 'row 2 has the field "txt"', 'did you mean "text"'),
    ("text", JSON, b'{"id": "1"}', 422, 'lacks the field "text"', '"text"'),
    ("text", JSON, b'{"text": ["a"]}', 422, 'a list as "text"', "in quotes"),
    ("text", JSON, b'{"text": "a", "id": [1]}', 422, "a list as id", ""),
    ("text", JSON, b'{"text": "a", "text_pair": "b"}', 422, '"text_pair"', ""),
    ("text", JSON, b'{"text": "' + b"a" * 60 + b'"}', 413, "60 characters, the limit is 50", "--max-characters"),
    ("text", JSON, json.dumps({"rows": [{"text": "a"}] * 5}).encode(), 413, "5 rows, the limit is 4", "smaller"),
    ("text", {"Content-Type": "application/x-www-form-urlencoded"}, b"text=a", 415, "form-urlencoded", "Content-Type"),
    ("text", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 422, "an empty list", '"rows"'),
    ("text", {}, b'{"text": "a"}', 415, "not given", "Content-Type"),
    ("text", {"Content-Type": "image/png"}, b"x", 415, "image/png", "JSON"),
    ("text", {"Content-Type": "text/plain; charset=latin-1"}, b"x", 415, "latin-1", "UTF-8"),
    ("text", {"Content-Type": "text/plain"}, b"\xff", 400, "not UTF-8", "UTF-8"),
    ("text", {"Content-Type": "text/plain"}, b"", 422, "empty", ""),
    ("text", {**JSON, "Content-Encoding": "gzip"}, b"x", 415, "compressed", "Content-Encoding"),
    ("pairs", JSON, b'{"text": "a"}', 422, 'lacks the field "text_pair"', '"text_pair"'),
    ("pairs", {"Content-Type": "text/plain"}, b"a", 415, "two texts", "text_pair"),
    ("image", JSON, b'{"image": "%%%"}', 400, "not base64", "base64"),
    ("image", JSON, b'{"image": 3}', 422, 'a number as "image"', "base64"),
    ("image", JSON, b'{"image": ""}', 422, "the picture is empty", ""),
    ("image", JSON, b'{"image": {"path": "/etc/passwd"}}', 422, 'an object as "image"', "base64"),
    ("image", JSON, b'{"image": "aGVsbG8="}', 422, "^the picture is of no kind", "other programs"),
    ("image", {"Content-Type": "image/png"}, b"", 422, "empty", ""),
    ("image", {"Content-Type": "audio/wav"}, b"x", 415, "audio/wav", "base64"),
    ("sound", {"Content-Type": "audio/wav"}, b"RIFF", 422, "^the clip is", "other programs"),
]


@pytest.mark.parametrize(("kind", "headers", "body", "status", "error", "fix"), REFUSED)
def test_what_is_wrong_with_a_request(
    kind: str, headers: dict[str, str], body: bytes, status: int, error: str, fix: str
):
    limits = Limits(rows=4, characters=50)
    with asked(served_as(kind), limits) as (client, service):
        found = client.post("/predict", content=body, headers=headers)
        assert found.status_code == status, found.text
        assert {*found.json()} == {"error", "fix"}
        assert re.search(error, found.json()["error"]), found.text
        assert fix in found.json()["fix"]
        assert found.json()["fix"]
        assert "Traceback" not in found.text
        assert service._held_bytes == 0
        row = sent(rows_for(kind, 1)[0]) if kind != "text" else {"text": "short enough"}
        if kind != "pairs":
            assert client.post("/predict", json=row).status_code == 200, "the service goes on"


def test_limits_of_size():
    with asked(served_as("text"), Limits(body_bytes=1000)) as (client, service):
        at_limit = b'{"text": "%s"}' % (b"a" * (1000 - 12))
        assert len(at_limit) == 1000
        assert client.post("/predict", content=at_limit, headers=JSON).status_code == 200
        over = client.post("/predict", content=at_limit + b" ", headers=JSON)
        assert over.status_code == 413
        assert "--max-body-mb" in over.json()["fix"]
        chunks = client.post("/predict", content=iter([b" " * 400] * 4), headers=JSON)
        assert chunks.status_code == 413
        assert service._held_bytes == 0


def test_long_clips_and_large_pictures_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch):
    clip, picture = sent(rows_for("sound", 1)[0]), sent(rows_for("image", 1)[0])
    with asked(served_as("sound"), Limits(clip_seconds=0.2)) as (client, _):
        found = client.post("/predict", json={"rows": [clip, clip]})
    assert found.status_code == 413
    assert "the clip of row 1 lasts 0.3 seconds, the limit is 0.2" in found.json()["error"]
    monkeypatch.setattr("pretune.data.media.image.MAX_PIXELS", 100)
    with asked(served_as("image")) as (client, _):
        found = client.post("/predict", json={"rows": [picture, picture]})
    assert found.status_code == 413
    assert "the picture of row 1 is larger than the limit" in found.json()["error"]


def test_odd_texts_come_back_as_text():
    rows = [
        {"id": "\ud800<script>", "text": "half a sign \ud83d and <script>alert(1)</script>"},
        {"id": "空", "text": "\x00\u202e مرحبا 你好 \U0001f600"},
        {"id": "", "text": "plain"},
    ]
    with asked(served_as("text")) as (client, _):
        found = client.post("/predict", content=json.dumps({"rows": rows}), headers=JSON)
        empty = client.post("/predict", content=json.dumps({"rows": [*rows, {"text": " \n"}]}), headers=JSON)
    assert found.status_code == 200, found.text
    assert [row["id"] for row in found.json()["rows"]] == ["\ufffd<script>", "空", ""]
    assert (empty.status_code, empty.json()["error"]) == (422, 'the "text" of row 4 holds no text')
    assert found.headers["content-type"] == "application/json"


def test_addresses_and_methods():
    with asked(served_as("text")) as (client, _):
        for address in ("/docs", "/redoc", "/nothing", "/predict/", "/static/../health/x"):
            found = client.get(address)
            assert found.status_code == 404, address
            assert "GET /health" in found.json()["fix"]
        found = client.get("/predict")
        assert (found.status_code, found.headers["allow"]) == (405, "POST")
        assert found.json()["fix"] == "this address takes POST"
        assert client.head("/").status_code == 200


def test_the_description_names_labels_fields_and_limits():
    with asked(served_as("text"), Limits(rows=9)) as (client, _):
        found = client.get("/openapi.json")
    text = found.text
    assert "http://" not in text.replace("http://json-schema.org", "")
    paths = found.json()["paths"]
    assert {*paths} == {"/health", "/predict", "/explain"}
    assert "securitySchemes" not in text
    many, one, inputs = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert many["properties"]["rows"]["maxItems"] == 9
    assert one["required"] == ["text"]
    assert inputs["required"] == ["inputs"]
    record = paths["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["properties"][
        "rows"
    ]["items"]
    assert record["properties"]["label"]["enum"] == [*LABELS]
    assert {"400", "413", "415", "422", "503"} <= {*paths["/predict"]["post"]["responses"]}


def test_headers_keep_other_sites_out():
    with asked(served_as("text")) as (client, _):
        page, refused = client.get("/"), client.post("/predict", content=b"{")
        for found in (page, refused, client.get("/health")):
            for name, value in HEADERS.items():
                if found is not page or name != "Content-Security-Policy":
                    assert found.headers[name] == value
            assert "access-control-allow-origin" not in found.headers
            assert "server" not in found.headers
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1", "192.168.0.9"):
            assert client.get("/health", headers={"Host": host}).status_code == 421, host
        for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000"):
            assert client.get("/health", headers={"Host": host}).status_code == 200, host
        for origin in ("http://evil.example", "null", "http://127.0.0.1:81", "http://["):
            found = client.post("/predict", json={"text": "a"}, headers={"Origin": origin})
            assert found.status_code == 403, origin
        assert client.post("/predict", json={"text": "a"}, headers={"Origin": HERE}).status_code == 200
    with asked(served_as("text"), local_only=False) as (client, _):
        assert client.get("/health", headers={"Host": "models.example"}).status_code == 200


def test_the_page_holds_hostile_names_as_text():
    labels = ("</script><script>alert(1)</script>", "<!--", "好\u2028")
    served = dataclasses.replace(served_as("text", labels), name="<img src=x onerror=alert(1)>", standing="<b>90 %</b>")
    with asked(served) as (client, _):
        html = client.get("/").text
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html
    assert "<b>" not in html
    assert "http://" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    about = json.loads(re.search(r'id="about">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    assert about["labels"] == [*labels]


class _Broken(torch.nn.Module):
    """A model whose answers are not numbers, or that raises."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error

    def forward(self, **inputs: torch.Tensor) -> Any:
        if self.error is not None:
            raise self.error
        logits = torch.full((len(inputs["input_ids"]), len(LABELS)), float("nan"))
        return type("Answer", (), {"logits": logits})()


@pytest.mark.parametrize(
    ("model", "status", "error", "defects"),
    [
        (_Broken(), 500, r"no numbers \(NaN or infinite\) for 1 of 1 rows", 1),
        (_Broken(RuntimeError("secret text of a user")), 500, "defect in pretune.*: RuntimeError$", 1),
        (_Broken(MemoryError()), 503, "not enough memory", 0),
    ],
)
def test_a_model_that_fails(model: torch.nn.Module, status: int, error: str, defects: int):
    told: list[Exception] = []
    with asked(dataclasses.replace(served_as("text"), model=model), on_defect=told.append) as (client, _):
        found = client.post("/predict", json={"text": "secret text of a user"})
        assert client.get("/health").json()["ready"] is True
    assert found.status_code == status
    assert re.search(error, found.json()["error"]), found.text
    assert "secret" not in found.text
    assert len(told) == defects


def test_a_defect_outside_the_worker(monkeypatch: pytest.MonkeyPatch):
    told: list[Exception] = []
    monkeypatch.setattr(sys.modules[make_app.__module__], "rows_of", lambda *_: 1 / 0)
    with asked(served_as("text"), on_defect=told.append) as (client, service):
        found = client.post("/predict", json={"text": "a"})
        assert service._held_bytes == 0
    assert found.status_code == 500
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" in found.json()["error"]
    assert len(told) == 1


def test_one_bad_file_spoils_no_other_request():
    rows = [sent(row) for row in rows_for("image", 3)]
    bad = {"rows": [rows[0], {"image": base64.b64encode(b"\x89PNG\r\n").decode()}]}
    with asked(served_as("image")) as (client, _), ThreadPoolExecutor(6) as pool:
        bodies = [{"rows": rows}, bad] * 3
        found = list(pool.map(lambda body: client.post("/predict", json=body), bodies))
    assert [reply.status_code for reply in found] == [200, 422] * 3
    assert "the picture of row 2" in found[1].json()["error"]


def test_too_many():
    served = served_as("text")
    held = Held(served.model)
    with asked(dataclasses.replace(served, model=held), Limits(waiting=2, seconds=HANG_SECONDS)) as (client, service):
        with ThreadPoolExecutor(2) as pool:
            first = [pool.submit(client.post, "/predict", json={"text": f"text {i}"}) for i in range(2)]
            while service.worker.waiting < 2:
                time.sleep(0.01)
            refused = client.post("/predict", json={"text": "one too many"})
            held.go.set()
            assert [reply.result().status_code for reply in first] == [200, 200]
        assert refused.status_code == 503
        assert "2 requests" in refused.json()["error"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert service._held_bytes == 0


def test_too_late():
    served = served_as("text")
    held = Held(served.model)
    with asked(dataclasses.replace(served, model=held), Limits(seconds=0.3)) as (client, service):
        late = client.post("/predict", json={"text": "never answered in time"})
        assert late.status_code == 503
        assert "within 0.3 seconds" in late.json()["error"]
        held.go.set()
        while service.worker.rounds < 1 or service.worker.waiting:
            time.sleep(0.01)
        assert service._held_bytes == 0


def test_no_figures_leave_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with asked(served_as("text")) as (client, _):
        assert client.get("/health").status_code == 200
        told = getattr(client.app, "_telemetry", {"auto_configure": False})  # older ones report nothing
        assert told["auto_configure"] is False
