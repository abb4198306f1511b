"""Parameters and optimiser states of a process under ZeRO-3 on two processes, against ZeRO-0."""

import json
import os
import subprocess
import sys
from pathlib import Path

from cluster.free_port import free_port
from result import Result

CONFIG = Path(__file__).parents[2] / "configs/experiments/gavt_c.yaml"
MOST = 0.55
PROCESSES = 2


def run() -> list[Result]:
    """G-AVTc in both precisions. Parameters, float32 copies and moments are counted to the byte on each process, every
    storage once; gradients and buffers of communication are not."""
    results = []
    for precision in ("bf16", "fp32"):
        found = {stage: _bytes(stage, precision) for stage in (0, 3)}
        whole, part = max(found[0]), max(found[3])
        peer = f"ZeRO-0: {whole / 1e6:.1f} MB a process; ZeRO-3: {part / 1e6:.1f} MB"
        results.append(Result(f"zero_memory, {precision}", part / whole, "", MOST, part / whole <= MOST, peer))
    return results


def _bytes(stage: int, precision: str) -> list[int]:
    place = {"WORLD_SIZE": str(PROCESSES), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(stage), precision],
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(PROCESSES)
    ]
    try:
        said = [process.communicate(timeout=500)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    if any(process.returncode for process in started):
        raise RuntimeError("a process of the benchmark failed")
    return [json.loads(lines.splitlines()[-1]) for lines in said]


def _count(stage: int, precision: str) -> int:
    """Bytes of parameters, float32 copies and moments that this process holds after a step."""
    import torch

    from cluster.process_group import join_process_group
    from pipeline.experiment import ExperimentSettings
    from pipeline.settings.load import load_settings
    from pipeline.train.engine.build import build_engine
    from pipeline.train.engine.fragments import base_optimizer
    from pipeline.train.load import untrained
    from pipeline.train.system import example_batch

    words = [f"train.zero_stage={stage}", f"train.precision={precision}"]
    words += [f"train.batch_size={PROCESSES}", f"task.group={PROCESSES}"]
    settings = load_settings(str(CONFIG), ExperimentSettings, words).settings
    group = join_process_group()
    system = untrained(settings, "cpu", 0)
    engine = build_engine(system, settings.train, 1, group)
    loss, _ = engine.forward(*example_batch(system, settings, 1, "cpu"))
    engine.backward(loss)
    engine.step()
    parameters = list(engine.module.parameters())
    held = [*parameters, *(p.ds_tensor for p in parameters if hasattr(p, "ds_tensor")), *engine.masters()]
    held += [value for state in base_optimizer(engine._deepspeed).state.values() for value in state.values()]
    storages = [tensor.untyped_storage() for tensor in held if torch.is_tensor(tensor)]
    group.leave()
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


if __name__ == "__main__":
    print(json.dumps(_count(int(sys.argv[1]), sys.argv[2])))
