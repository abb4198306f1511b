"""Handing on a model that is larger than the memory allowed for it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import simulated_ranks
from pipeline.experiment import ExperimentSettings
from pipeline.train.engine.fragments import MASTER, Fragment
from simulated_ranks import save

ROOT = Path(__file__).parents[4]
PARAMETERS, NUMBERS = 7, 16 << 20
"""Of the model, 448 MiB."""
ROOM = 384 << 20
COMMAND = """
import re, resource, sys
from jobs.cli import main
from pipeline.train.checkpoints import convert, export  # all that is imported, before memory is counted
used = int(re.search(r"VmData:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]),) * 2)
main(["checkpoint", *sys.argv[2:]])
"""


def run(*words: str, room: int = ROOM) -> "subprocess.CompletedProcess[str]":
    """`gavt checkpoint` with so many bytes of memory beside what it needs to begin."""
    told = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-c", COMMAND, str(room), *words]
    return subprocess.run(command, env=os.environ | told, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """That of two processes."""

    def halves(ranks: int, rank: int, stage: int, fill: object):
        for number in range(PARAMETERS):
            numbers = torch.full((NUMBERS // 2,), float(number + rank / 2))
            yield Fragment(f"layer.{number}", (NUMBERS,), rank * NUMBERS // 2, {MASTER: numbers}, True)

    folder = tmp_path_factory.mktemp("large") / "run"
    settings = {"settings": ExperimentSettings().model_dump(mode="json"), "versions": {}, "time": 0.0, "engine": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_ranks, "fragments", halves)
        save(folder / "checkpoints", 2, 1, settings)
    return str(folder)


@pytest.mark.parametrize("verbs", [("export", "export"), ("convert",)])
def test_a_model_is_handed_on_in_less_memory_than_it_has_itself(
    checkpoint: str, tmp_path: Path, verbs: Sequence[str]
) -> None:
    out = checkpoint
    for number, verb in enumerate(verbs):
        ended = run(verb, out, "--out", str(tmp_path / str(number)))
        assert ended.returncode == 0, ended.stderr
        out = str(tmp_path / str(number))
    (file,) = Path(out).rglob("*.safetensors")
    with safe_open(file, "pt") as found:
        names = sorted(found.keys())
        assert len(names) == PARAMETERS
        for number, name in enumerate(names):
            part = found.get_slice(name)
            assert [float(part[at]) for at in (0, NUMBERS // 2 - 1, NUMBERS // 2, NUMBERS - 1)] == [
                number,
                number,
                number + 0.5,
                number + 0.5,
            ]
