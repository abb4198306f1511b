"""The memory that `gavt plan` foretells beside what training allocates, on the CPU: ZeRO stages, processes, precisions,
activation checkpointing, accumulation, offload."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.experiment import ExperimentSettings
from pipeline.plan.machines import Machines
from pipeline.plan.plan import own_way
from pipeline.settings.load import load_settings
from result import Result

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MOST_OFF = 0.10
MODEL = """
base: {root}/configs/experiments/gavt_b.yaml
features: {{frame_size: 64, audio_samples: 16383, frequency_bins: 64}}
model: {{layers: 6, dropout: 0.0}}
task: {{group: 4}}
train: {{batch_size: {batch}, precision: fp32}}
"""
"""About 17 million parameters."""
SMALL, LARGE = 16, 48
"""Samples a step: with the small one most memory is the model's and the optimiser's, with the large one activations."""
CASES: tuple[tuple[int, tuple[str, ...]], ...] = (
    (1, ()),
    (1, ("train.activation_checkpointing=full",)),
    (1, ("train.precision=bf16",)),
    (1, (f"train.batch_size={LARGE}",)),
    (2, ()),
    (2, ("train.precision=bf16", f"train.batch_size={LARGE}")),
    (2, ("train.activation_checkpointing=full", f"train.batch_size={LARGE}")),
)
SUMS = ("train.precision=bf16", "train.batch_size=32", "train.micro_batch=8")
OTHERS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (1, ("train.zero_stage=1", "train.micro_batch=8")),
    (1, ("train.zero_stage=2", "train.activation_checkpointing=2", f"train.batch_size={LARGE}")),
    (1, ("train.zero_stage=1", "model.dropout=0.1")),
)


def run() -> list[Result]:
    """A line a case."""
    every = (*CASES, (1, SUMS), (2, SUMS))
    cases = [(world, (f"train.zero_stage={stage}", *words)) for world, words in every for stage in (0, 1, 2, 3)]
    return measure([*cases, *OTHERS])


def measure(cases: list[tuple[int, tuple[str, ...]]]) -> list[Result]:
    """The same of other cases: processes and overrides."""
    results = []
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        config = Path(folder) / "model.yaml"
        config.write_text(MODEL.format(root=ROOT, batch=SMALL))
        library = _compile(Path(folder))
        for world in sorted({world for world, _ in cases}):
            mine = [words for processes, words in cases if processes == world]
            for words, measured in zip(mine, _train(library, config, world, mine), strict=True):
                planned = _plan(config, world, words)
                off = abs(planned / measured - 1)
                name = f"plan_memory {world}× " + " ".join(word.removeprefix("train.") for word in words)
                peer = f"measured {measured / 1e6:.1f} MB, planned {planned / 1e6:.1f} MB"
                results.append(Result(name, off, "", MOST_OFF, off <= MOST_OFF, peer))
    return results


def _plan(config: Path, world: int, words: tuple[str, ...]) -> float:
    """Bytes a process; on a CPU the host's memory is where all the rest is."""
    settings = load_settings(str(config), ExperimentSettings, words).settings
    where = Machines(gpus=world, gpus_per_node=world, gpu_memory=2**40, on_gpu=False)
    memory = own_way(settings, where).memory
    return memory.total + memory.host


def _compile(folder: Path) -> Path:
    library = folder / "allocations.so"
    source = HERE / "_allocations.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def _train(library: Path, config: Path, world: int, cases: list[tuple[str, ...]]) -> list[float]:
    """Bytes of each case, as the process with the most has measured."""
    child = [sys.executable, str(HERE / "_measured_training.py"), str(config), json.dumps(cases)]
    environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    if world > 1:
        launch = "import sys; from cluster.launch import launch_local; "
        launch += f"sys.exit(launch_local(sys.argv[1:], {world}))"
        child = [sys.executable, "-c", launch, *child]
    done = subprocess.run(child, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    return [float(line) for line in done.stdout.splitlines() if line.replace(".", "").isdecimal()]
