"""Shell scripts that give a program exactly the words that they were made of."""

import shlex
from collections.abc import Sequence

from cluster.job_records import JobRecord


def bash_script(record: JobRecord, head: Sequence[str], command: Sequence[str]) -> str:
    """A script for bash that becomes `command`, in the job's working folder and the site's environment.

    Args:
        head: lines behind the first one: comments, options of a queue.
        command: its words; whatever is in them, they arrive as they are.
    """
    site = record.site
    lines = ["#!/usr/bin/env bash", *head]
    lines += [f"module load {shlex.quote(name)}" for name in site.modules]
    lines += [*site.setup, "set -euo pipefail"]  # others' lines need not hold that
    variables = site.environment | {"PYTHONUNBUFFERED": "1"}  # what processes print is in the logs at once
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines += [f"cd -- {shlex.quote(record.directory)}", f"exec {_wrapped(command)}"]
    return "\n".join(lines) + "\n"


def _wrapped(command: Sequence[str]) -> str:
    """The words of a command, on lines that can be read."""
    lines = [""]
    for word in map(shlex.quote, command):
        if lines[-1] and len(lines[-1]) + len(word) > 110:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return " \\\n    ".join(lines)
