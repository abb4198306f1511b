"""The checks of a GPU go through on a CPU, in tiny sizes, before a card's minutes are spent on them."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpu.run import CHECKS, LEAST_S, Check, run_check

RUN = Path(__file__).with_name("run.py")
REHEARSED = [check.name for check in CHECKS if not check.pytest]


def rehearse(out: Path, name: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(RUN), name, "--rehearse", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + (out / "log.txt").read_text()
    return [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]


def test_a_check_goes_through_and_says_what_it_finds_in_lines_and_a_verdict(tmp_path: Path) -> None:
    *found, verdict = rehearse(tmp_path, "waits")
    assert (verdict["verdict"], verdict["findings"], verdict["wrong"]) == ("ok", 1, 0)
    assert found[0]["ok"] is True
    assert found[0]["busy_ms"] > 0
    assert len(found[0]["kernels"]) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REHEARSED if name != "waits"])
def test_every_other_check_goes_through(tmp_path: Path, name: str) -> None:
    *_, verdict = rehearse(tmp_path, name)
    assert verdict["verdict"] == "ok"


def test_the_usual_checks_end_within_eight_minutes() -> None:
    assert sum(check.seconds for check in CHECKS if check.usual) <= 480


def test_a_check_that_hangs_is_ended_and_the_next_goes_on(tmp_path: Path) -> None:
    hangs = Check("hangs", LEAST_S + 1, "", pytest=("-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)))
    (tmp_path / "conftest.py").write_text("import time\ntime.sleep(60)\n")
    verdict = run_check(hangs, tmp_path, time.monotonic() + 60, rehearse=False)
    assert verdict["verdict"] == "late"
    assert verdict["seconds"] > LEAST_S
    assert run_check(hangs, tmp_path, time.monotonic() + LEAST_S, rehearse=False)["verdict"] == "left out"
