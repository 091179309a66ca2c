"""A headless Chromium by the W3C WebDriver protocol, in the standard library alone."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1440,900", "--hide-scrollbars",
]  # fmt: skip
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback needs no proxy


def missing() -> str:
    """The name of the first tool that is not here, or ""."""
    return next((tool for tool in ("chromium", "chromedriver") if shutil.which(tool) is None), "")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true value of `condition`, asked again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, KeyError):
            if value := condition():
                return value
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


class Browser:
    """One window."""

    def __init__(self, port: int, folder: Path) -> None:
        self._root = f"http://127.0.0.1:{port}"
        options = {"args": [*FLAGS, f"--user-data-dir={folder}"], "binary": shutil.which("chromium")}
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self._root += f"/session/{answer['sessionId']}"

    def open(self, address: str) -> None:
        """Go to an address."""
        self._ask("POST", "/url", {"url": address})

    def script(self, source: str, *arguments: Any) -> Any:
        """What the body of a JavaScript function returns."""
        return self._ask("POST", "/execute/sync", {"script": source, "args": list(arguments)})

    def find(self, path: str, seconds: float = 30) -> str:
        """The element at an XPath, once it is there."""
        query = {"using": "xpath", "value": path}
        return str(wait_for(lambda: self._ask("POST", "/elements", query), path, seconds)[0][ELEMENT])

    def click(self, path: str) -> None:
        """Click the element at an XPath."""
        self._ask("POST", f"/element/{self.find(path)}/click", {})

    def click_at(self, path: str, x: int, y: int) -> None:
        """Click at pixels from the element's upper left corner."""
        left, top = self._corner(path)
        place = {"type": "pointerMove", "x": left + x, "y": top + y, "origin": "viewport"}
        press = [
            {"type": "pointerDown", "button": 0},
            {"type": "pause", "duration": 50},
            {"type": "pointerUp", "button": 0},
        ]
        self._act({"type": "pointer", "id": "mouse", "actions": [place, *press]})

    def wheel(self, path: str, pixels: int) -> None:
        """Turn the wheel over the element at an XPath; downwards is positive."""
        left, top = self._corner(path)
        turn = {"type": "scroll", "x": left + 50, "y": top + 50, "deltaX": 0, "deltaY": pixels, "origin": "viewport"}
        self._act({"type": "wheel", "id": "wheel", "actions": [turn]})

    def type(self, path: str, text: str) -> None:
        """Type into the element at an XPath; WebDriver's codes for special keys are allowed."""
        self._ask("POST", f"/element/{self.find(path)}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key on the page."""
        strokes = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._act({"type": "key", "id": "keys", "actions": strokes})

    def text(self) -> str:
        """All text on the page."""
        return str(self.script("return document.body.innerText"))

    def resources(self) -> list[str]:
        """Addresses of everything that the page has asked for."""
        found: list[str] = self.script("return performance.getEntries().map(entry => entry.name)")
        return found

    def screenshot(self, file: Path) -> None:
        """Save what the window shows as PNG."""
        file.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self) -> None:
        """Close the window."""
        self._ask("DELETE", "")

    def _corner(self, path: str) -> tuple[int, int]:
        box = self._ask("GET", f"/element/{self.find(path)}/rect")
        return round(box["x"]), round(box["y"])

    def _act(self, device: dict[str, Any]) -> None:
        self._ask("POST", "/actions", {"actions": [device]})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, {"Content-Type": "application/json"}, method=method)
        with _DIRECT.open(request, timeout=60) as answer:
            return json.load(answer)["value"]


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `folder`, closed at the end."""
    port = free_port()
    driver = subprocess.Popen([str(shutil.which("chromedriver")), f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _DIRECT.open(f"http://127.0.0.1:{port}/status", timeout=5).close() or True, "chromedriver")
        browser = Browser(port, folder)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait(10)
