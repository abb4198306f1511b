"""Memory that training allocates: started by plan_memory.py with `_allocations.c` loaded before the C library.

    python _measured_training.py CONFIG '[["a.b=value", …], …]'

Prints, on the main process, the bytes of each list of overrides as a line of JSON.
"""

import ctypes
import gc
import json
import os
import sys

import torch

from cluster.process_end import end_process
from cluster.process_group import ProcessGroup, join_process_group
from pipeline.experiment import ExperimentSettings
from pipeline.models.recompute import set_checkpointing
from pipeline.settings.load import load_settings
from pipeline.train.engine.build import build_engine
from pipeline.train.engine.deepspeed_settings import micro_batch_of
from pipeline.train.load import untrained
from pipeline.train.system import example_batch

STEPS = 3
_COUNTER = ctypes.CDLL(os.environ["LD_PRELOAD"])
for _name in ("allocated_bytes", "peak_bytes"):
    getattr(_COUNTER, _name).restype = ctypes.c_long


def measure(settings: ExperimentSettings, group: ProcessGroup) -> float:
    """Most bytes at any moment of the last of a few steps, beyond those before the model was built."""
    micro_batch = micro_batch_of(settings.train, group.world_size, settings.task)
    accumulated = settings.train.batch_size // (micro_batch * group.world_size)
    gc.collect()
    before = _COUNTER.allocated_bytes()
    system = untrained(settings, group.device, settings.seed)
    set_checkpointing(system, settings.train.activation_checkpointing)
    engine = build_engine(system, settings.train, micro_batch, group)
    engine.train()
    for _ in range(STEPS):
        gc.collect()  # DeepSpeed leaves cycles behind
        group.barrier()
        _COUNTER.reset_peak()
        for _ in range(accumulated):
            inputs, targets = example_batch(system, settings, micro_batch, group.device)
            loss, _ = engine.forward(inputs, targets)
            engine.backward(loss)
            engine.step()
            del loss, inputs, targets
    peak = _COUNTER.peak_bytes()
    engine.destroy()
    return float(peak - before)


def main() -> None:
    """All cases one after the other, so that torch is loaded once."""
    group = join_process_group()
    torch.set_num_threads(1)
    try:
        for overrides in json.loads(sys.argv[2]):
            settings = load_settings(sys.argv[1], ExperimentSettings, overrides).settings
            found = max(group.gather_objects(measure(settings, group)))
            if group.is_main:
                print(json.dumps(found), flush=True)
    finally:
        group.leave()


if __name__ == "__main__":
    main()
    end_process(0)
