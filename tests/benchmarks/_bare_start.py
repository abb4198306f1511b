"""What anybody's training with DeepSpeed begins with: its import, an engine around a tiny model, three steps."""

import os

import deepspeed
import torch
import torch.distributed as dist
from torch import nn

CONFIG = {
    "train_micro_batch_size_per_gpu": 16,
    "zero_optimization": {"stage": 1},
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}


def main() -> None:
    """Started by torchrun."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    dist.init_process_group("gloo")
    model = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=CONFIG, dist_init_required=False)
    for _ in range(3):
        loss = engine(torch.randn(16, 256)).square().mean()
        engine.backward(loss)
        engine.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
