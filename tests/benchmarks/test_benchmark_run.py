"""The runner of the benchmarks, on made-up ones in a folder of their own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MADE_UP = """
from result import Result

def run() -> list[Result]:
    return [Result("{name}", {figure}, "s", 2.0, {figure} <= 2.0, "a peer")]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tests" / "benchmarks"
    place.mkdir(parents=True)
    for name in ("run.py", "result.py"):
        shutil.copy(HERE / name, place)
    (place / "fast.py").write_text(MADE_UP.format(name="fast one", figure=1.5))
    (place / "slow.py").write_text(MADE_UP.format(name="slow one", figure=2.5))
    (place / "broken.py").write_text("def run():\n    raise RuntimeError('no such luck')\n")
    return place


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(folder / "run.py"), *words], capture_output=True, text=True, timeout=60)


def test_a_line_says_name_figure_limit_verdict_and_peer(folder: Path) -> None:
    done = run(folder, "fast")
    assert done.returncode == 0
    assert " ".join(done.stdout.split()) == "fast one 1.5 s limit 2 s ok against a peer"


def test_one_that_misses_its_limit_fails_the_run(folder: Path) -> None:
    done = run(folder, "fast", "slow")
    assert done.returncode == 1
    assert "NOT OK" in done.stdout.splitlines()[1]


def test_a_broken_one_fails_the_run_and_hides_no_other(folder: Path) -> None:
    done = run(folder, "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["broken"] == ["broken"]
    assert [result["name"] for result in said["results"]] == ["fast one", "slow one"]
    assert said["results"][1] == {
        "name": "slow one",
        "figure": 2.5,
        "unit": "s",
        "limit": 2.0,
        "ok": False,
        "peer": "a peer",
    }
    assert "no such luck" in done.stderr


def test_each_has_a_process_of_its_own(folder: Path) -> None:
    leaves = "import os\nfrom result import Result\n\ndef run():\n    there = 'LEFT' in os.environ\n"
    leaves += "    os.environ['LEFT'] = 'x'\n    return [Result('left', float(there), '', 0.0, not there, 'none')]\n"
    for name in ("first", "second"):
        (folder / f"{name}.py").write_text(leaves)
    (folder / "dies.py").write_text("import os\n\ndef run():\n    os._exit(3)\n")
    done = run(folder, "first", "dies", "second", "--json")
    said = json.loads(done.stdout.splitlines()[-1])
    assert [result["figure"] for result in said["results"]] == [0.0, 0.0]
    assert said["broken"] == ["dies"]


def test_one_that_needs_another_machine_is_left_out_and_said(folder: Path) -> None:
    (folder / "far.py").write_text("from result import NotHere\n\ndef run():\n    raise NotHere('no GPU here')\n")
    done = run(folder, "far", "fast", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["left_out"] == ["far"]
    assert "not measured: no GPU here" in done.stderr


def test_a_run_that_measured_nothing_fails(folder: Path) -> None:
    (folder / "far.py").write_text("from result import NotHere\n\ndef run():\n    raise NotHere('no GPU here')\n")
    done = run(folder, "far")
    assert done.returncode == 1
    assert done.stderr.endswith("nothing was measured\n")
    (folder / "empty.py").write_text("def run():\n    return []\n")
    done = run(folder, "empty", "fast", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["broken"] == ["empty"]


def test_an_unknown_name_is_one_sentence(folder: Path) -> None:
    done = run(folder, "fats")
    assert done.returncode == 2
    assert done.stderr == "benchmark 'fats': no such benchmark; known are broken, fast, slow\n"
