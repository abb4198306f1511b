"""A real browser that clicks, presses keys, taps, and says what a page then does."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
_KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Tab": 9}


class Browser:
    """Chromium on one page, led by the DevTools protocol over two pipes."""

    def __init__(self, page: str, folder: Path, width: int = 1200, height: int = 2000) -> None:
        """
        Args:
            page: path of a local page, or an address.
            folder: for the browser's profile.
        """
        assert BROWSER is not None
        to_it, ours = os.pipe()
        theirs, from_it = os.pipe()[::-1]
        flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"]
        command = f'exec "$@" 3<&{to_it} 4>&{theirs}'  # the pipes' numbers are given
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", BROWSER, *flags, "about:blank"],
            pass_fds=(to_it, theirs),
            env={**os.environ, "HOME": str(folder)},
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it)
        os.close(theirs)
        self._out, self._in = os.fdopen(ours, "wb", 0), os.fdopen(from_it, "rb")
        self._number, self._session, self._left = 0, "", b""
        address = page if page.startswith("http://") else Path(page).resolve().as_uri()
        target = self._ask("Target.createTarget", url=address)["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (found := self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} is still {found!r}"
            time.sleep(0.05)
        return found

    def click(self, selector: str, number: int = 0) -> None:
        """Press the mouse on the middle of an element that a selector finds."""
        x, y = self._middle(selector, number)
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector: str, number: int = 0) -> None:
        """Touch the middle of an element."""
        x, y = self._middle(selector, number)
        self._ask("Emulation.setTouchEmulationEnabled", enabled=True)
        self._ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press a key."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self._ask("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self) -> bytes:
        """PNG of the window."""
        return base64.b64decode(self._ask("Page.captureScreenshot")["data"])

    def _middle(self, selector: str, number: int) -> tuple[float, float]:
        element = f"document.querySelectorAll({json.dumps(selector)})[{number}]"
        self.evaluate(f"{element}.scrollIntoView({{block: 'center'}})")
        x, y = self.evaluate(
            f"(() => {{ const box = {element}.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def _ask(self, method: str, **words: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": words}
        message |= {"sessionId": self._session} if self._session else {}
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> bytes:
        while b"\0" not in self._left:
            piece = os.read(self._in.fileno(), 1 << 16)
            assert piece, "the browser has ended"
            self._left += piece
        message, _, self._left = self._left.partition(b"\0")
        return message

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *error: object) -> None:
        self._out.close()  # it ends when nobody leads it any more
        self._in.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
