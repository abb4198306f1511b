"""The variants with torch.compile: the graphs, the first step's seconds, and samples/s."""

import torch

from check_speed import measure
from findings import Findings

_RUNS = (
    ("gavt_c", 256, "train.precision=bf16"),
    ("gavt_base", 64, "train.precision=bf16"),
    ("gavt_large", 32, "train.activation_checkpointing=none"),
    ("gavt_huge", 16, "train.activation_checkpointing=none"),
)


def check(findings: Findings) -> None:
    for name, samples, words in _RUNS[: 1 if findings.rehearses else None]:
        if findings.has_time(60, name):
            torch._dynamo.reset()
            torch._dynamo.utils.counters.clear()
            measure(findings, f"{name} × {samples} compiled", name, samples, [words, "train.compile=true"])
            counted = torch._dynamo.utils.counters["stats"]
            findings.say(f"{name}: graphs", graphs=counted["unique_graphs"], frames=counted["calls_captured"])
