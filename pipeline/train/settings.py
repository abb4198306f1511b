"""Settings of training."""

from typing import Literal

from pydantic import Field

from pipeline.settings.base import Settings


class WandbSettings(Settings):
    """Where metrics go beside `metrics.jsonl`."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto` is online when an account is configured (WANDB_API_KEY or ~/.netrc), else offline."""
    project: str = "gavt"
    entity: str | None = None


class TrainSettings(Settings):
    """Optimisation (defaults: experiment 4 of Table 1), engine, checkpoints, logging."""

    steps: int = Field(default=100_000, gt=0)
    """Optimiser steps."""
    batch_size: int = Field(default=64, gt=0)
    """Samples a step, over all processes."""
    micro_batch: int | None = Field(default=None, gt=0)
    """Samples a process handles at once; by default its whole share of the batch. Smaller ones are accumulated."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """`adam` adds the weight decay to the gradient, `adamw` keeps it apart."""
    learning_rate: float = Field(default=1e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly."""
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 turns clipping off."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO: 1 shares out optimiser states, 2 gradients too, 3 parameters too."""
    activation_checkpointing: Literal["none", "full"] = "none"
    """`full` recomputes every encoder layer in the backward pass instead of keeping its activations."""
    log_every: int = Field(default=10, gt=0)
    """Steps between two records of `metrics.jsonl` and wandb."""
    validate_every: int = Field(default=1000, gt=0)
    validation_samples: int = Field(default=2048, gt=0)
    """At most this many samples of the validation set are used during training."""
    checkpoint_every: int = Field(default=1000, gt=0)
    keep_checkpoints: int = Field(default=2, gt=0)
    """Older checkpoints are removed."""
    wandb: WandbSettings = WandbSettings()
