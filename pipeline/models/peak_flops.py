"""What known GPUs can compute at most, for model FLOPs utilisation."""

import re
from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "fp16", "bf16"]


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet.

    Attributes:
        words: all of them are words of the name that the driver gives, in any case.
        memory_gib: that CUDA says it has (of the model with most memory, where the name doesn't tell), which is less
            than the gigabytes of the data sheet.
        fp32, tf32, fp16, bf16: most TFLOP/s of dense matrices (without sparsity), accumulated in 32 bits; 0 where the
            precision is not known to it.
    """

    words: tuple[str, ...]
    memory_gib: float
    fp32: float
    tf32: float
    fp16: float
    bf16: float


# The first row that fits counts, so variants come before the plain name. Sources: NVIDIA's data sheets of V100 (January
# 2020), T4, A10, A30, A40, A100 (June 2021), L4, L40 and L40S, H100 (2023: where they give figures "with sparsity",
# half of it), H200, HGX B200; AMD's data sheet of the MI300X.
GPUS = (
    Gpu(("b200",), 178, 75, 1100, 2250, 2250),
    Gpu(("h200", "nvl"), 139, 60, 417.5, 835.5, 835.5),
    Gpu(("h200",), 139, 67, 494.7, 989.4, 989.4),
    Gpu(("gh200",), 94, 67, 494.7, 989.4, 989.4),
    Gpu(("h100", "nvl"), 93, 60, 417.5, 835.5, 835.5),
    Gpu(("h100", "pcie"), 79, 51, 378, 756, 756),
    Gpu(("h100",), 79, 67, 494.7, 989.4, 989.4),
    Gpu(("a100", "40gb"), 39, 19.5, 156, 312, 312),
    Gpu(("a100",), 79, 19.5, 156, 312, 312),
    Gpu(("a10",), 22, 31.2, 62.5, 125, 125),
    Gpu(("a30",), 23, 10.3, 82, 165, 165),
    Gpu(("a40",), 44, 37.4, 74.8, 149.7, 149.7),
    Gpu(("l40s",), 44, 91.6, 183, 362, 362),
    Gpu(("l40",), 44, 90.5, 90.5, 181, 181),
    Gpu(("l4",), 22, 30.3, 60, 121, 121),
    Gpu(("v100", "pcie", "16gb"), 15, 14, 0, 112, 0),
    Gpu(("v100", "pcie"), 31, 14, 0, 112, 0),
    Gpu(("v100", "16gb"), 15, 15.7, 0, 125, 0),
    Gpu(("v100",), 31, 15.7, 0, 125, 0),
    Gpu(("t4",), 14, 8.1, 0, 65, 0),
    Gpu(("mi300x",), 191, 163.4, 653.7, 1307.4, 1307.4),
)


def known_gpu(name: str) -> Gpu | None:
    """The GPU that a name ("NVIDIA H100 80GB HBM3", "a100") means; None where it is not in the table, as an RTX A4000
    is not for all that begins like an A40."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return next((gpu for gpu in GPUS if all(word in words for word in gpu.words)), None)


def peak_flops(name: str, precision: Precision) -> float | None:
    """Most FLOP/s of a GPU, by its name; None where it or its precision is not in the table."""
    gpu = known_gpu(name)
    tera = {"fp32": gpu.fp32, "tf32": gpu.tf32, "fp16": gpu.fp16, "bf16": gpu.bf16}[precision] if gpu else 0.0
    return tera * 1e12 or None


def device_peak_flops(device: torch.device, precision: Literal["fp32", "fp16", "bf16"]) -> float | None:
    """Most FLOP/s of this machine's `device`; None for a CPU, whose peak no data sheet says (it hangs on clock, cores
    and instructions), and for a GPU that is not in the table. fp32 counts as TF32 where the GPU has it and torch may
    use it, as it does in convolutions unless told otherwise."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    if precision == "fp32" and (torch.get_float32_matmul_precision() != "highest" or torch.backends.cudnn.allow_tf32):
        return peak_flops(name, "tf32") or peak_flops(name, "fp32")
    return peak_flops(name, precision)
