"""Checks of training on a GPU, the most telling first; README.md beside this file says how to run them.

    python tests/gpu/run.py [--seconds 480] [--out FOLDER] [--rehearse] [CHECK …]

OUT/findings.jsonl      a line a finding, then a line a check
OUT/log.txt             what the checks printed
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_GRACE_S = 3.0
_REHEARSAL = 10
"""Times of the time of a check, on a CPU that does other things too."""
LEAST_S = 3.0
"""In less no check says anything."""


@dataclass(frozen=True)
class Check:
    """`check_NAME.py` in a process of its own, or pytest.

    Attributes:
        seconds: after which it is ended.
        usual: whether it runs unless others are named.
    """

    name: str
    seconds: float
    says: str
    usual: bool = True
    pytest: tuple[str, ...] = ()


CHECKS = (
    Check("machine", 30, "versions, imports, the card, rates of matrices and copies"),
    Check("curves", 90, "ZeRO 0–3 × fp32, bf16, fp16 and options of training follow one curve, a CPU's too"),
    Check("repeat", 60, "the same training twice is the same to the bit, and what that costs"),
    Check("speed", 110, "samples/s, MFU, and memory against `gavt plan`, of the variants, eager"),
    Check("resume", 75, "`gavt train` in two pieces equals one piece to the bit; `gavt evaluate` on GPU and CPU"),
    Check("waits", 40, "where the host waits for the GPU in a step, the GPU's share of it, the costliest kernels"),
    Check("loader", 40, "samples/s that the cores decode and bring to the GPU"),
    Check("tests", 25, "the tests that need a GPU", pytest=("-m", "cuda")),
    Check("compiled", 280, "what torch.compile takes and brings, graphs counted", usual=False),
    Check(
        "suite",
        240,
        "the tests of training and models",
        False,
        ("-n12", "tests/pipeline/train", "tests/pipeline/models"),
    ),
)
"""In the order in which they run; the usual ones end within eight minutes."""


def run_check(check: Check, out: Path, until: float, rehearse: bool) -> dict[str, Any]:
    """Run a check in a process group of its own; its line of the table."""
    seconds = min(check.seconds * (_REHEARSAL if rehearse else 1), until - time.monotonic() - _GRACE_S)
    if seconds < LEAST_S:
        return {"check": check.name, "verdict": "left out", "seconds": 0.0}
    if check.pytest:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *check.pytest]
    else:
        inside = ["--inside", "--seconds", str(seconds), "--out", str(out), *(["--rehearse"] if rehearse else [])]
        command = [sys.executable, __file__, check.name, *inside]
    began, late = time.monotonic(), False
    with (out / "log.txt").open("ab") as log:
        log.write(f"\n======== {check.name}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _end(process)
    found = [one for one in _lines(out) if one["check"] == check.name and "verdict" not in one]
    wrong = sum(one["ok"] is False for one in found)
    verdict = "late" if late else "ok" if process.returncode == 0 and not wrong else "FAILED"
    spent = round(time.monotonic() - began, 1)
    return {"check": check.name, "verdict": verdict, "seconds": spent, "findings": len(found), "wrong": wrong}


def _environment() -> dict[str, str]:
    """wandb is not on a bare machine; the checks import the project's code, its tests' and benchmarks', and each
    other."""
    own = [str(place) for place in (ROOT, ROOT / "tests", ROOT / "tests/benchmarks", HERE)]
    path = os.pathsep.join(filter(None, [*own, os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "WANDB_MODE": "disabled", "PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a check's process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _lines(out: Path) -> list[dict[str, Any]]:
    file = out / "findings.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def show(out: Path) -> None:
    """All findings and verdicts as tables."""
    lines = _lines(out)
    for one in lines:
        if "verdict" not in one:
            mark = {True: "ok", False: "WRONG", None: ""}[one["ok"]]
            words = {name: value for name, value in one.items() if name not in ("check", "what", "ok")}
            print(f"{one['check']:<9} {mark:<6} {one['what']:<44} {json.dumps(words, ensure_ascii=False)[:400]}")
    print(f"\n{'check':<9} {'verdict':<9} {'s':>6} {'findings':>9} {'wrong':>6}")
    for one in lines:
        if "verdict" in one:
            counts = f"{one.get('findings', 0):>9} {one.get('wrong', 0):>6}"
            print(f"{one['check']:<9} {one['verdict']:<9} {one['seconds']:>6} {counts}")


def main() -> int:
    """0 if all checks that were to run did, and found nothing wrong."""
    parser = argparse.ArgumentParser(description="Checks of training on a GPU.")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(check.name for check in CHECKS))
    parser.add_argument("--seconds", type=float, default=480, help="all of it ends within so many")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "/tmp/gavt-gpu")))
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, also without a GPU")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    until = time.monotonic() + given.seconds * (_REHEARSAL if given.rehearse and not given.inside else 1)
    known = {check.name: check for check in CHECKS}
    if unknown := [name for name in given.checks if name not in known]:
        print(f"expected some of {', '.join(known)}, found {', '.join(unknown)}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of `_end`
    if given.inside:
        from findings import Findings

        (name,) = given.checks
        import_module(f"check_{name}").check(Findings(name, given.out / "findings.jsonl", until, given.rehearse))
        sys.stdout.flush()
        os._exit(0)  # engines and process groups need no end of their own
    for file in ("findings.jsonl", "log.txt"):
        (given.out / file).unlink(missing_ok=True)
    chosen = [known[name] for name in given.checks] or [check for check in CHECKS if check.usual]
    verdicts = []
    for check in chosen:
        verdict = run_check(check, given.out, until, given.rehearse)
        verdicts.append(verdict["verdict"])
        with (given.out / "findings.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(verdict) + "\n")
    show(given.out)
    return 0 if set(verdicts) == {"ok"} else 1


if __name__ == "__main__":
    raise SystemExit(main())
