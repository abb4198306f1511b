"""Running verbs of the command, one after the other, from another of its verbs."""

import shlex
import subprocess
import sys

from jobs.output import console


def run_verb(words: tuple[str, ...], as_json: bool, called_by: str) -> None:
    """Print a command and run it; when it fails, end with its exit code.

    Args:
        as_json: its output goes to stderr, since stdout is for a program.
        called_by: the verb that runs it, which says so when it stops.
    """
    console(as_json).print(f"\n$ gavt {shlex.join(words)}", style="bold", soft_wrap=True)
    code = subprocess.call([sys.executable, "-m", "jobs.cli", *words], stdout=sys.stderr if as_json else None)
    if code:
        sys.stderr.write(f"gavt: {called_by} stopped: gavt {words[0]} ended with exit code {code}\n")
        raise SystemExit(code)
