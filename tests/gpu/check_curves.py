"""The same short training at every ZeRO stage, precision and option: all must follow one curve, and a CPU's too."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from findings import Findings
from pipeline.models.build import build_on
from pipeline.train import dry_run
from pipeline.train.dry_run import DryRun
from short_training import TINY, settings_of, step_ms, train_shortly

_STEPS = 6
_OPTIONS = (
    ("train.activation_checkpointing=full",),
    ("train.micro_batch=8",),
    ("train.ema_decay=0.99",),
    ("train.optimizer=muon",),
    ("train.offload=cpu",),
    ("train.micro_batch=8", "train.offload=cpu"),
)
# rounding of a bf16 weight is 2^-9 of it; six steps of a thousandth each
_APART = {"fp32": 2e-3, "bf16": 5e-2, "fp16": 5e-2}


def check(findings: Findings) -> None:
    stages, precisions = ((0, 3), ("fp32",)) if findings.rehearses else ((0, 1, 2, 3), ("fp32", "bf16", "fp16"))
    first: dict[tuple[str, tuple[str, ...]], list[float]] = {}
    cases = [(precision, (), stage) for precision in precisions for stage in stages]
    if not findings.rehearses:
        cases += [("bf16", words, stage) for words in _OPTIONS for stage in (1, 3)]
        cases += [("bf16", ("train.optimizer=adam",), 0)]
    for precision, words, stage in cases:
        name = " ".join([f"ZeRO-{stage} {precision}", *words])
        if not findings.has_time(6, name):
            continue
        with findings.judged(name) as found:
            chosen = [f"train.zero_stage={stage}", f"train.precision={precision}", "train.compile=false", *words]
            run = train_shortly(settings_of(TINY, *chosen), _STEPS).run
            twin = first.setdefault((precision, words), run.losses)
            found |= _judge(twin, run, _APART[precision])
    # what dropout draws is another on each device, and in compiled blocks
    without = ("train.zero_stage=1", "train.compile=false", "model.dropout=0")
    with findings.judged("fp32 beside a CPU") as found:
        words = [*without, "train.precision=fp32"]
        expected = _on_cpu(words)
        with _begun_on_the_cpu():
            found |= _judge(expected, train_shortly(settings_of(TINY, *words), _STEPS).run, _APART["fp32"])
    if not findings.rehearses and findings.has_time(40, "compiled"):
        with findings.judged("bf16 compiled") as found:
            eager = train_shortly(settings_of(TINY, *without, "train.precision=bf16"), _STEPS).run
            compiled = settings_of(TINY, *without, "train.precision=bf16", "train.compile=true")
            run = train_shortly(compiled, _STEPS).run
            found |= _judge(eager.losses, run, _APART["bf16"]) | {"first_s": round(run.seconds[0], 1)}


def _judge(expected: list[float], run: DryRun, most: float) -> dict[str, Any]:
    apart = max(abs(one - other) for one, other in zip(expected, run.losses, strict=True))
    losses = [round(loss, 5) for loss in run.losses]
    return {"ok": run.finite and apart < most, "apart": round(apart, 6), "step_ms": step_ms(run), "losses": losses}


@contextmanager
def _begun_on_the_cpu() -> Iterator[None]:
    """Have models begin with what a CPU draws for them, in the place of what the device does."""
    dry_run.build_on = lambda device, seed, make: build_on("cpu", seed, make).to(device)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        dry_run.build_on = build_on  # type: ignore[attr-defined]


def _on_cpu(words: list[str]) -> list[float]:
    """Losses of the tiny training in a process that sees no GPU."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [sys.executable, __file__, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    losses: list[float] = json.loads(done.stdout.splitlines()[-1])
    return losses


if __name__ == "__main__":
    print(json.dumps(train_shortly(settings_of(TINY, *sys.argv[1:]), _STEPS).run.losses), flush=True)
    os._exit(0)
