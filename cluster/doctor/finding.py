"""What a check found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]
_ORDER: tuple[State, ...] = ("ok", "warn", "fail")


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its name: `gpu`, `disk`, …
        state: `ok`; `warn`, a job runs, slower or less safely than it could; `fail`, it will not run.
        found: what is there, in a few words, without secrets.
        advice: one sentence of what to do; empty where all is well.
    """

    check: str
    state: State
    found: str
    advice: str = ""


def worst(findings: "list[Finding]") -> State:
    """The worst state among findings; `ok` where there are none."""
    return max((finding.state for finding in findings), key=_ORDER.index, default="ok")
