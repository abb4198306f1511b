"""`gavt train` in one piece, again, and in two pieces: records and weights are the same to the bit. Then what
`gavt evaluate` says of one of them, on the GPU and on the CPU."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from findings import Findings
from short_training import on_gpu
from tiny_shards import FEATURES, write_shard_set
from tiny_training import TRAIN, curve

_CASES = (
    ("patch", 1, "bf16"),
    ("convolution", 0, "fp32"),
    ("patch", 2, "bf16"),
    ("convolution", 3, "bf16"),
    ("patch", 1, "fp16"),
)
_EMBEDDERS = {
    # 16 + 256 tokens: more than a block of a fused kernel's keys
    "patch": {"visual_embedder": {"kind": "patch", "patch": 8}, "audio_embedder": {"kind": "patch", "patch": 2}},
    "convolution": {
        name: {"kind": "convolution", "widths": [8, 16, 16]} for name in ("visual_embedder", "audio_embedder")
    },
}


def check(findings: Findings) -> None:
    folder = Path(f"/tmp/gavt-gpu-resume-{os.getpid()}")
    try:
        sets = {name: write_shard_set(folder / name, 96 if name == "train" else 24) for name in ("train", "validation")}
        for case in _CASES[: 1 if findings.rehearses else None]:
            name = " ".join(map(str, case))
            if findings.has_time(12, name):
                with findings.judged(name) as found:
                    found |= _compare(folder, sets, *case)
        if on_gpu() and findings.has_time(10, "evaluate"):
            with findings.judged("evaluate on GPU and CPU") as found:
                found |= _evaluated(folder, folder / "patch-1-bf16-whole", sets["validation"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compare(folder: Path, sets: dict[str, Path], kind: str, stage: int, precision: str) -> dict[str, Any]:
    config = folder / f"{kind}.yaml"
    narrow = {"width": 32, "feed_forward": 64, "layers": 2, "heads": 2, "norm_first": True, "dropout": 0.1}
    config.write_text(
        yaml.safe_dump(
            {
                "data": {name: str(place) for name, place in sets.items()} | {"workers": 2},
                "features": FEATURES,
                "model": narrow | _EMBEDDERS[kind],
                "train": TRAIN | {"log_every": 1, "keep_last": 3, "zero_stage": stage, "precision": precision},
            }
        )
    )
    runs = {name: folder / f"{kind}-{stage}-{precision}-{name}" for name in ("whole", "again", "parts")}
    _wait(_start(config, run, 8 if name == "parts" else 12) for name, run in runs.items())
    _wait([_start(config, runs["parts"], 12)])
    curves = {name: _steps(run) for name, run in runs.items()}
    weights = [_weights(run) for run in runs.values()]
    alike = [all(torch.equal(one[name], weights[0][name]) for name in one) for one in weights[1:]]
    resumed = curves["parts"] == curves["whole"] and alike[1]
    last = json.loads((runs["whole"] / "metrics.jsonl").read_text().splitlines()[-1])
    return {
        "ok": resumed,
        "same_twice": curves["again"] == curves["whole"] and alike[0],
        "first_other_step": next(
            (one[0] for one, other in zip(curves["whole"], curves["parts"], strict=True) if one != other), None
        ),
        "memory_gib": last.get("memory_gib"),
    }


def _start(config: Path, run: Path, steps: int) -> subprocess.Popen[str]:
    # validation of the run in parts comes at its end too
    words = [f"train.steps={steps}", "train.validate_every=1000", "train.compile=false"]
    command = [sys.executable, "-m", "jobs.cli", "train", str(config), "--run", str(run), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _wait(started: Iterator[subprocess.Popen[str]] | list[subprocess.Popen[str]]) -> None:
    """Side by side."""
    for process in list(started):
        _, err = process.communicate()
        if process.returncode:
            raise ChildProcessError(f"gavt train ended with {process.returncode}: {err[-400:]}")


def _steps(run: Path) -> list[tuple[float, ...]]:
    """The curve of training; validation comes at other steps where a run has parts."""
    return [record[:5] for record in curve(run) if record[1] is not None]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = (run / "checkpoints").glob("step-*12/*.safetensors")
    weights: dict[str, torch.Tensor] = load_file(file)
    return weights


def _evaluated(folder: Path, run: Path, data: Path) -> dict[str, Any]:
    numbers = []
    for device in ("cuda", "cpu"):
        out = folder / device
        command = [sys.executable, "-m", "jobs.cli", "evaluate", "--checkpoint", str(run), "--data", str(data)]
        command += ["--out", str(out), "--set", f"evaluate.device={device}"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        numbers.append(dict(_numbers(json.loads((out / "evaluation.json").read_text()))))
    gpu, cpu = numbers
    apart = sorted(((abs(gpu[name] - cpu[name]), name) for name in gpu.keys() & cpu.keys()), reverse=True)
    return {"ok": gpu.keys() == cpu.keys() and apart[0][0] < 0.05, "numbers": len(gpu), "most_apart": apart[:4]}


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in JSON, by where they stand."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inner, f"{place}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, float(value)
