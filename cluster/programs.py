"""Other programs, and what they say."""

import subprocess
from collections.abc import Mapping, Sequence


def run_program(
    words: Sequence[str], timeout_s: float | None = None, text: str = "", environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, and keep what it says, as UTF-8 whatever the locale is.

    Args:
        text: what it reads.
        environment: its variables; by default those of this process.

    Raises:
        OSError: it can't be started.
        subprocess.TimeoutExpired: it was ended, as it took longer.
    """
    return subprocess.run(
        words,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
    )
