"""A real browser for tests of pages: Chromium without a window, spoken to over a pipe in the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-pipe",
)
PATIENCE_SECONDS = 600.0
_START = """
import fcntl, os, sys
aside = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
for number, held in zip((3, 4), aside):
    os.dup2(held, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from its file 3 and answers on its file 4."""


class Page:
    """One tab. ``complaints`` are what its console and its security policy said."""

    def __init__(self, browser: Browser, *, width: int = 1200, height: int = 900) -> None:
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.size = (width, height)
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("DOM.enable")
        self.look(width, height)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, session=self._session, **params)

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """The size of the window and the person's choice of colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, script: str, seconds: float = PATIENCE_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < until, f"waited {seconds:g} s for {script}:\n{self.text()[:2000]}"
            time.sleep(0.05)

    def text(self) -> str:
        """What a person reads on the page."""
        return self.run("document.body.innerText")

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def violations(self) -> list[str]:
        """What axe-core holds against the page, a line each; skips where it is not installed."""
        found = importlib.util.find_spec("axe_core_python")
        if found is None or found.origin is None:
            pytest.skip("axe-core-python is not installed")
        self.run(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8") + ";0")
        told = self.run(
            "axe.run().then((found) => found.violations.map((one) => [one.id, one.help, one.nodes[0].html]))"
        )
        return [": ".join(one) for one in told]

    @property
    def complaints(self) -> list[str]:
        return [
            event["params"].get("entry", event["params"]).get("text") or json.dumps(event["params"])
            for event in self._browser.events
            if event.get("sessionId") == self._session
            and event["method"]
            in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
        ]


class Browser:
    """A process of Chromium, and its answers by number."""

    def __init__(self, command: str, folder: Path) -> None:
        its_in, our_out = os.pipe()
        our_in, its_out = os.pipe()
        self._out, self._in, self._held = our_out, our_in, b""
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(its_in), str(its_out), command, *FLAGS, f"--user-data-dir={folder}"],
            pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(its_in)
        os.close(its_out)

    def call(self, method: str, *, session: str = "", **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = self._next(until - time.monotonic())
            if found.get("id") == number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            if "method" in found:
                self.events.append(found)

    def _next(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._in], [], [], max(0.0, seconds))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 2**20)
            assert data, "the browser has ended"
            self._held += data
        line, _, self._held = self._held.partition(b"\0")
        return json.loads(line)

    def close(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._out)
        os.close(self._in)


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Chromium; skips where there is none."""
    command = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if command is None:
        pytest.skip("no Chromium on this machine")
    started = Browser(command, folder)
    try:
        yield started
    finally:
        started.close()
