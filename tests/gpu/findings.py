"""What a check finds."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Findings:
    """A JSON line for each, written at once: of a check that is ended stays what it had found.

    Attributes:
        rehearses: whether sizes are tiny, to see on a CPU that all goes through.
    """

    def __init__(self, check: str, file: Path, until: float, rehearses: bool) -> None:
        """`until` is a time of `time.monotonic`, at which the check is ended."""
        self._check, self._file, self._until, self.rehearses = check, file, until, rehearses

    def say(self, what: str, ok: bool | None = None, **found: Any) -> None:
        """Note a finding; `ok` is False for what is wrong, and None where there is nothing to judge."""
        line = {"check": self._check, "what": what, "ok": ok, **found}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def has_time(self, seconds: float, what: str) -> bool:
        """Whether so much time is left; else `what` is noted as left out."""
        enough = self.rehearses or self._until - time.monotonic() > seconds
        if not enough:
            self.say(what, left_out=f"less than {seconds:.0f} s are left")
        return enough

    @contextmanager
    def judged(self, what: str) -> Iterator[dict[str, Any]]:
        """A part that may fail without ending the check; the dictionary takes what it finds."""
        found: dict[str, Any] = {}
        began = time.monotonic()
        try:
            yield found
        except Exception as error:
            at = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            found |= {"ok": False, "error": f"{type(error).__name__}: {error}"[:600], "at": at[-4:]}
            if "CUDA error" in str(error):  # nothing computes in this process any more
                raise
        finally:
            self.say(what, seconds=round(time.monotonic() - began, 1), **found)
