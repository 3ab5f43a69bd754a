"""``pretune serve`` as a process: a hundred at a time, broken and slow clients, signals, and the page in a real browser."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cli_calls import QUICK, TINY, call, done, refused

from browser import Page, browser
from clocks import HANG_SECONDS
from conftest import make_rows, write_csv
from serving import Running, running, started_service
from tiny import tiny_clips, tiny_pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    write_csv(folder / "news.csv", make_rows(120))
    done("finetune", *TINY, "--data", folder / "news.csv", "--max-steps", 6, "--out", folder / "news", "--seed", 1)
    return folder / "news"


@pytest.fixture(scope="module")
def service(text_run: Path) -> Iterator[Running]:
    with running(text_run, "--max-body-mb", 0.25, "--timeout", HANG_SECONDS) as found:
        yield found


def post(address: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Status and JSON of ``POST /predict``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}predict", data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def health(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}health", timeout=HANG_SECONDS) as reply:
        return json.load(reply)


def raw(place: tuple[str, int], *parts: bytes) -> bytes:
    """What the service says to these bytes, until it hangs up."""
    with socket.create_connection(place, timeout=HANG_SECONDS) as talk:
        for part in parts:
            talk.sendall(part)
        found = b""
        try:
            while piece := talk.recv(65_536):
                found += piece
        except ConnectionResetError:
            pass
        return found


def test_a_hundred_at_a_time_answered_as_predict_does(service: Running, text_run: Path, tmp_path: Path):
    rows = [{"id": row["id"], "text": row["text"]} for row in make_rows(100, seed=7)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    wanted = done("predict", text_run, tmp_path / "rows.jsonl", *QUICK).rows
    with ThreadPoolExecutor(100) as pool:
        alone = list(pool.map(lambda row: post(service.address, {"rows": [row]}), rows))
    assert [status for status, _ in alone] == [200] * 100
    status, together = post(service.address, {"rows": rows})
    assert status == 200
    for found in ([answer["rows"][0] for _, answer in alone], together["rows"]):
        assert [row["id"] for row in found] == [row["id"] for row in wanted]
        assert [row["label"] for row in found] == [row["label"] for row in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=2e-6)


def test_bodies_that_are_too_large_or_never_end(service: Running):
    status, told = post(service.address, b'{"text": "' + b"a" * 400_000 + b'"}')
    assert status == 413
    assert "0.25 MiB" in told["error"]
    connection = http.client.HTTPConnection(*service.place, timeout=HANG_SECONDS)
    connection.request(
        "POST", "/predict", (b" " * 50_000 for _ in range(9)), {"Content-Type": "application/json"}, encode_chunked=True
    )
    reply = connection.getresponse()
    assert (reply.status, reply.getheader("connection")) == (413, "close")
    assert "larger" in json.load(reply)["error"]
    connection.close()
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for more in (b"", b"Expect: 100-continue\r\n"):
        asks = head + b"Content-Length: 100000000000000\r\n" + more + b"\r\n"
        assert raw(service.place, asks).startswith(b"HTTP/1.1 413 ")
    assert health(service.address)["ready"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 421),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000, 400),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_not_http(service: Running, sent: bytes, status: int):
    said = raw(service.place, sent)
    assert said.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert {*json.loads(said.partition(b"\r\n\r\n")[2])} == {"error", "fix"}
    assert health(service.address)["ready"]


def test_clients_that_leave_in_the_middle(service: Running):
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"
    for part in (
        b"POST /pre",
        head,
        head + b'{"rows": [',
        head + b'{"text": "a fine film and then a long silence of t"}',
    ):
        with socket.create_connection(service.place) as talk:
            talk.sendall(part)
    with ThreadPoolExecutor(8) as pool:
        left = [pool.submit(_leaves, service.place) for _ in range(8)]
        for one in left:
            one.result()
    status, _ = post(service.address, {"text": "the coach won the cup"})
    assert status == 200
    while health(service.address)["waiting"]:
        time.sleep(0.05)


def _leaves(place: tuple[str, int]) -> None:
    """Asks about many rows and hangs up at once."""
    body = json.dumps({"rows": [{"text": "the coach won the cup " * 20}] * 256}).encode()
    with socket.create_connection(place) as talk:
        talk.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        talk.sendall(body)


def test_more_connections_than_are_kept(text_run: Path):
    with running(text_run, "--max-waiting", 1, HEADERS_SECONDS=HANG_SECONDS) as service:
        idle = [socket.create_connection(service.place) for _ in range(66)]
        status, told = post(service.address, {"text": "one more"})
        assert status == 503
        assert "66 connections" in told["error"]
        for one in idle:
            one.close()
        while post(service.address, {"text": "one more"})[0] != 200:
            time.sleep(0.1)


def test_slow_clients_are_not_waited_for(text_run: Path):
    with running(text_run, "--timeout", 0.5, HEADERS_SECONDS=0.5) as service:
        head = (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
        )
        said = raw(service.place, head)
        assert said.startswith(b"HTTP/1.1 408 "), said[:200]
        assert b"within 0.5 seconds" in said
        # Headers that never end: uvicorn would wait for ever.
        assert raw(service.place, b"GET /health HTTP/1.1\r\n", b"Host: localhost\r\n") == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_busy_answers_what_is_in_flight(text_run: Path, number: int, tmp_path: Path):
    body = {"rows": [{"text": "the striker scored twice against the home team"}] * 20}
    with (
        running(text_run, "--timeout", HANG_SECONDS, HELD_UNTIL=tmp_path / "gate") as service,
        ThreadPoolExecutor(6) as pool,
    ):
        asked = [pool.submit(post, service.address, body) for _ in range(6)]
        while health(service.address)["waiting"] < 6:
            time.sleep(0.02)
        service.process.send_signal(number)
        (tmp_path / "gate").touch()
        answers = [one.result() for one in asked]
        assert [status for status, _ in answers] == [200] * 6
        assert all(len(found["rows"]) == 20 for _, found in answers)
        assert service.process.wait(HANG_SECONDS) == 0
        with pytest.raises(OSError):
            socket.create_connection(service.place, timeout=HANG_SECONDS)
        assert service.process.stdout is not None
        last = json.loads(service.process.stdout.read())
        assert (last["rows"], last["exit_code"]) == (120, 0)


def test_a_second_ctrl_c_leaves_at_once(text_run: Path, tmp_path: Path):
    body = {"rows": [{"text": "the striker scored twice against the home team " * 12}] * 256}
    process = started_service(text_run, "--timeout", HANG_SECONDS, HELD_UNTIL=tmp_path / "gate")
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["address"]
    place = Running(address, process).place
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(post, address, body) for _ in range(20)]
        while health(address)["waiting"] < 20:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        while _listens(place):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        (tmp_path / "gate").touch()
        out, err = process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 130, err
        assert "Traceback" not in out + err
        assert any(one.exception() is not None for one in asked)


def _listens(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=HANG_SECONDS).close()
    except OSError:
        return False
    return True


def test_addresses_that_cannot_be_had(service: Running, text_run: Path):
    _, port = service.place
    refused(call("serve", text_run, "--port", port), rf"port {port} is taken.*\n.*--port {port + 1}, or --port 0")
    refused(call("serve", text_run, "--host", "no.such.host.invalid"), "no address of this machine")
    refused(call("serve", text_run, "--host", "192.0.2.1", "--port", 0), "no address of this machine")
    refused(call("serve", text_run, "--max-seconds", 3, "--port", 0), "--max-seconds does nothing for text")
    refused(call("serve", text_run / "no", "--port", 0), "does not exist")


def test_other_machines_are_let_in_with_a_token_and_nothing_is_logged(text_run: Path):
    refused(
        call("serve", text_run, "--host", "0.0.0.0", "--port", 0),
        r"other machines reach.*\n.*--auth-token [0-9a-f]{32}",
    )
    token = {"Authorization": "Bearer a-token-of-letters"}
    with running(text_run, "--host", "0.0.0.0", PRETUNE_AUTH_TOKEN="a-token-of-letters") as service:
        assert service.address.startswith("http://127.0.0.1:")
        assert post(service.address, {"text": "a private matter"})[0] == 401
        request = urllib.request.Request(f"{service.address}health", headers={"Host": "models.example", **token})
        with urllib.request.urlopen(request, timeout=HANG_SECONDS) as reply:
            assert json.load(reply)["ready"]
        assert post(service.address, {"text": "a private matter"}, **token)[0] == 200
        assert post(service.address, b'{"text": "a private', **token)[0] == 400
        service.process.terminate()
        service.process.wait(HANG_SECONDS)
        assert service.process.stdout is not None
        assert service.process.stderr is not None
        told = service.process.stderr.read()
        assert "everyone who has the token" in told
        said = told + service.process.stdout.read()
        assert "private" not in said
        assert "a-token-of-letters" not in said


def test_a_person_reads_where_it_is(text_run: Path):
    words = [sys.executable, "-m", "pretune", "serve", str(text_run), "--port", "0", *QUICK]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "at http://127.0.0.1:" in line
    assert "Ctrl-C stops it" in line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_SECONDS)
    assert (process.returncode, out) == (0, "stopped; 0 requests, 0 rows answered\n"), err


HOSTILE = "The coach <script>document.title='taken'</script> <img src=x onerror=\"document.title='taken'\"> won & lost the cup."


def test_the_page_in_a_browser(service: Running, tmp_path: Path):
    with browser(tmp_path / "profile") as chromium:
        page = Page(chromium)
        page.open(service.address + "?" + urllib.parse.urlencode({"text": HOSTILE}))
        page.wait_for("document.querySelectorAll('.words mark').length > 4")
        label = post(service.address, {"text": HOSTILE})[1]["rows"][0]["label"]
        assert page.run("document.getElementById('said').textContent") == label
        assert page.run("document.querySelector('.words').textContent") == HOSTILE
        assert HOSTILE.replace('"', '\\"') in page.run("document.getElementById('curl').textContent").replace(
            "'\\''", "'"
        )
        assert page.run("document.title") == "news – pretune"
        assert page.run("document.querySelectorAll('#content script, #content img').length") == 0
        shares = page.run(
            "[...document.querySelectorAll('#bars .share')].map((share) => parseFloat(share.textContent))"
        )
        assert len(shares) == 3
        assert sum(shares) == pytest.approx(100, abs=0.2)

        page.run("document.getElementById('why-test').click()")
        page.wait_for("document.getElementById('why-note').textContent.includes('random orders')")
        page.run("document.querySelectorAll('#bars button')[2].click()")
        page.wait_for("document.querySelectorAll('#bars button')[2].getAttribute('aria-pressed') === 'true'")

        page.run("document.getElementById('text').value = 'a'.repeat(300000)")
        page.run("document.querySelector('button.main').click()")
        page.wait_for("!document.getElementById('problem').hidden")
        assert "The request is larger than 0.25 MiB" in page.text() or "100,000" in page.text()
        assert page.run("document.getElementById('result').hidden")
        page.look(390, 800, dark=True)
        assert page.run("document.documentElement.scrollWidth") <= 390
        assert [told for told in page.complaints if "413" not in told] == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_accessible(service: Running, tmp_path: Path, dark: bool):
    with browser(tmp_path / "profile") as chromium:
        page = Page(chromium)
        page.look(1200, 900, dark=dark)
        page.open(service.address + "?" + urllib.parse.urlencode({"text": "The coach won the cup."}))
        page.wait_for("document.querySelectorAll('.words mark').length > 4")
        assert page.violations() == []


def test_rows_to_try_and_ctrl_enter_and_colours_that_can_be_read(service: Running, tmp_path: Path):
    with browser(tmp_path / "profile") as chromium:
        page = Page(chromium)
        page.open(service.address)
        page.wait_for("!document.getElementById('samples').hidden")
        shown = page.run("[...document.querySelectorAll('#samples button')].map((one) => one.textContent)")
        texts = {row["text"]: row["label"] for row in make_rows(120)}
        assert 3 <= len(shown) <= 6
        assert {texts[text] for text in shown} == {"money", "science", "sport"}
        page.run("document.querySelectorAll('#samples button')[1].click()")
        page.wait_for("document.querySelectorAll('.words mark').length > 4")
        assert page.run("document.getElementById('text').value") == shown[1]
        assert page.run("document.getElementById('truth').textContent") == f"The data says: {texts[shown[1]]}"
        for dark in (False, True):
            page.look(1280, 900, dark=dark)
            assert page.run(DEEPEST_CONTRAST) >= 4.5, dark

        page.run("document.getElementById('text').value = 'a late penalty'")
        page.run("document.getElementById('text').focus()")
        for kind in ("rawKeyDown", "keyUp"):
            page.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, modifiers=2
            )
        page.wait_for("document.querySelector('.words')?.textContent === 'a late penalty'")
        assert page.run("document.getElementById('truth').hidden")
        assert page.complaints == []


DEEPEST_CONTRAST = """(() => {
  const mark = document.querySelector('.words mark');
  mark.style.setProperty('--weight', 1);
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const luminance = (...colours) => {
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const parts = [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((one) => one / 255);
    const [r, g, b] = parts.map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [paper, style] = [getComputedStyle(document.querySelector('.words')), getComputedStyle(mark)];
  const least = ['for', 'against'].map((side) => {
    mark.className = side;
    const [dark, light] = [luminance(style.color), luminance(paper.backgroundColor, style.backgroundColor)].sort();
    return (light + 0.05) / (dark + 0.05);
  });
  return Math.min(...least);
})()"""
"""Of letters on the deepest mark there can be (WCAG 2.2, 1.4.3)."""


def test_the_page_asks_for_the_token(text_run: Path, tmp_path: Path):
    with running(text_run, "--auth-token", "0123456789abcdef") as service, browser(tmp_path / "profile") as chromium:
        page = Page(chromium)
        page.open(service.address)
        assert page.run("document.getElementById('form') === null")
        page.open(service.address.replace("//", "//:0123456789abcdef@"))
        page.wait_for("!document.getElementById('samples').hidden")
        page.run("document.querySelector('#samples button').click()")
        page.wait_for("document.querySelectorAll('.words mark').length > 1")
        assert "-H 'Authorization: Bearer TOKEN'" in page.run("document.getElementById('curl').textContent")


def test_the_page_says_so_when_the_service_is_gone(text_run: Path, tmp_path: Path):
    with browser(tmp_path / "profile") as chromium:
        page = Page(chromium)
        with running(text_run) as service:
            page.open(service.address)
        page.run("document.getElementById('text').value = 'anyone there?'")
        page.run("document.querySelector('button.main').click()")
        page.wait_for("!document.getElementById('problem').hidden")
        assert "The service does not answer. Is it still running?" in page.text()


def test_pictures_on_the_page(tmp_path: Path):
    for row in tiny_pictures(18):
        place = tmp_path / "photos" / row["label"] / row["image"]["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(row["image"]["bytes"])
    run = tmp_path / "eyes"
    done("finetune", "scratch:vit-micro", "--data", tmp_path / "photos", *QUICK, "--max-steps", 2, "--out", run)
    shown = tmp_path / "photos" / "money" / "0.png"
    (tmp_path / "<b>bad.png").write_bytes(b"not a picture")
    with running(run) as service, browser(tmp_path / "profile") as chromium:
        wanted = done("predict", run, shown, *QUICK).rows[0]["label"]
        page = Page(chromium)
        page.open(service.address)
        page.choose_file("#file", shown)
        page.wait_for("document.querySelectorAll('.looks img').length === 2")
        page.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert page.run("document.getElementById('said').textContent") == wanted
        page.choose_file("#file", tmp_path / "<b>bad.png")
        page.wait_for("!document.getElementById('problem').hidden")
        assert "The picture is of no kind that can be read" in page.text()
        assert page.run("document.querySelector('#preview span').textContent") == "<b>bad.png"
        page.wait_for("document.querySelector('#preview img') === null")
        assert page.run("document.querySelectorAll('#preview b, #problem b, #programs b').length") == 0
        assert [told for told in page.complaints if "422" not in told] == []


def test_recordings_on_the_page(tmp_path: Path):
    for row in tiny_clips(18):
        place = tmp_path / "clips" / row["label"] / row["audio"]["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(row["audio"]["bytes"])
    run = tmp_path / "ears"
    done("finetune", "scratch:wav2vec2-tiny", "--data", tmp_path / "clips", *QUICK, "--max-steps", 1, "--out", run)
    with running(run) as service, browser(tmp_path / "profile") as chromium:
        page = Page(chromium)
        page.open(service.address)
        page.choose_file("#file", tmp_path / "clips" / "money" / "0.wav")
        page.wait_for("document.querySelectorAll('.over-time rect').length > 1")
        assert page.run("document.querySelectorAll('.over-time path').length") == 1
        page.wait_for("document.querySelector('audio').duration > 0.2")
        # The browser's microphone of tests beeps; what it records is sent as WAV.
        page.run("document.getElementById('record').click()")
        page.wait_for("document.getElementById('record').classList.contains('on')")
        time.sleep(1.2)
        page.run("document.getElementById('record').click()")
        page.wait_for("document.querySelector('#preview span').textContent === 'recording.wav'")
        page.wait_for("document.querySelectorAll('.over-time rect').length > 5")
        assert page.run("document.getElementById('problem').hidden")
        assert page.complaints == []
