"""A page in headless Chromium, by its DevTools protocol over a pipe: no port, no driver, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 60


class Browser:
    """One tab. `events` keeps all that the browser has told so far."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._rest, self._number = read, write, b"", 0
        self.events: list[dict[str, Any]] = []
        self.page = "about:blank"
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **getattr(self, "_session", {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        found: dict[str, Any] = answer["result"]
        return found

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            more = os.read(self._read, 2**20)
            assert more, "the browser has ended"
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def open(self, page: Path, width: int = 1280, scheme: str = "light") -> None:
        """Loads a page and waits until its figures are drawn."""
        self.events.clear()
        self.resize(width)
        self.scheme(scheme)
        self.page = page.resolve().as_uri()
        self.call("Page.navigate", url=self.page)
        until = time.monotonic() + PATIENCE_S
        drawn = "document.readyState === 'complete' && [...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))"
        while not self.value(drawn):
            assert time.monotonic() < until, "the figures are not drawn"
            time.sleep(0.05)

    def scheme(self, scheme: str, media: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def value(self, expression: str) -> Any:
        """What JavaScript gives, as plain data."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def key(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def resize(self, width: int, height: int = 900) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, file: Path, height: int | None = None) -> None:
        """The page from its top, all of it unless a height is said."""
        width, whole = self.value("[innerWidth, document.documentElement.scrollHeight]")
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        self.resize(width, height or whole)
        time.sleep(0.5)  # figures follow the width, which grows without a scroll bar
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of scripts and of the browser."""
        found = list[str]()
        for event in self.events:
            parameters = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"])[:2000])
            if event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(json.dumps(parameters["args"])[:2000])
            if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """Everything that was asked for, but for the page itself and what stands in it."""
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in asked if url != self.page and not url.startswith(("data:", "blob:"))]


@contextmanager
def browser() -> Iterator[Browser]:
    assert CHROMIUM
    theirs_in, mine_out = os.pipe()
    mine_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        ends = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        process = subprocess.Popen(
            ["bash", "-c", ends, "bash", *words],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out):
            os.close(end)
        try:
            yield Browser(mine_in, mine_out)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            os.close(mine_in)
            os.close(mine_out)
