"""Samples/s, model FLOPs utilisation, and memory against `gavt plan`, of the variants, eager."""

from findings import Findings
from pipeline.plan.machines import GIB, Machines
from pipeline.plan.plan import own_way
from short_training import TINY, on_gpu, settings_of, step_ms, train_shortly

_MOST_OFF = 0.1
_RUNS = (
    ("gavt_c", 256, ("train.precision=bf16",)),
    ("gavt_c", 256, ("train.precision=fp32",)),
    ("gavt_base", 64, ()),
    ("gavt_large", 32, ("train.activation_checkpointing=none",)),
    ("gavt_huge", 16, ("train.activation_checkpointing=none",)),
    ("gavt_large", 64, ("train.activation_checkpointing=full",)),
    ("gavt_small", 64, ()),
    ("gavt_giant", 16, ("train.activation_checkpointing=full",)),
)


def check(findings: Findings) -> None:
    for name, samples, words in _RUNS[: 1 if findings.rehearses else None]:
        case = " ".join([f"{name} × {samples}", *words])
        if findings.has_time(18, case):
            measure(findings, case, name, samples, [*words, "train.compile=false"])


def measure(findings: Findings, case: str, name: str, samples: int, words: list[str]) -> None:
    """Train a variant for some steps of one micro-batch."""
    with findings.judged(case) as found:
        config, samples = (TINY, 8) if findings.rehearses else (name, samples)
        settings = settings_of(config, f"train.batch_size={samples}", f"train.micro_batch={samples}", *words)
        watched = train_shortly(settings, 4 if findings.rehearses else 8)
        run = watched.run
        found |= {"ok": run.finite, "samples_per_s": round(run.samples_per_s or 0, 1), "mfu": run.mfu}
        found |= {"step_ms": step_ms(run), "first_s": round(run.seconds[0], 1), "peak_gib": watched.peak_gib}
        planned = own_way(settings, Machines(1, 1, 2**40, on_gpu=on_gpu())).memory.total / GIB
        found["planned_gib"] = round(planned, 3)
        if watched.peak_gib:
            off = planned / watched.peak_gib - 1
            found |= {"off": round(off, 3), "ok": run.finite and abs(off) < _MOST_OFF}
