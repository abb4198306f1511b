"""Memory in a record."""

import resource

import psutil
import torch

_GIB = 2**30
_KIB = 2**10


def memory_in_use(device: torch.device) -> dict[str, float]:
    """Memory of this process and its machine, in GiB.

    Returns:
        `memory_gib`: the most that this process had since its start: tensors on its GPU, or all of its memory (resident
        set) where it computes on the CPU. `host_memory_gib`: what all processes of the machine have now.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    machine = psutil.virtual_memory()
    return {
        "memory_gib": round(peak / _GIB, 3),
        "host_memory_gib": round((machine.total - machine.available) / _GIB, 3),
    }
