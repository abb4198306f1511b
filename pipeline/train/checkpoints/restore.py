"""A checkpoint's states into an engine, whatever the number of processes, the ZeRO stage and the precision of either.

Every process reads its own fragments, one parameter at a time, from the files of all that saved them. So there is one
way for a run that goes on as it was and for one that goes on otherwise, and both are equal to the bit: masters and
moments are float32 everywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.layout import Checkpoint
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.engine.fragments import MOMENTS, base_optimizer, fragments, refresh

_COUNTERS = ("global_steps", "global_samples", "skipped_steps")
_SCALE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def counters(engine: Any) -> dict[str, Any]:
    """What an engine counts, and in fp16 its loss scale: small numbers, alike on all processes."""
    steps = [float(state["step"]) for state in base_optimizer(engine).state.values() if "step" in state]
    scaler = _loss_scaler(engine)
    return {name: int(getattr(engine, name)) for name in _COUNTERS} | {
        "optimizer_step": max(steps, default=0.0),
        "loss_scale": {name: getattr(scaler, name) for name in _SCALE if hasattr(scaler, name)},
    }


@torch.no_grad()
def load_engine(checkpoint: Checkpoint, engine: Any, averages: Sequence[Tensor] | None = None) -> None:
    """Put a checkpoint's weights, moments, buffers and counters into the engine; every process must call it.

    Args:
        averages: where the moving averages go of the tensors that the optimiser steps.

    Raises:
        CheckpointError: something that the model has is not in it.
    """
    manifest = checkpoint.manifest
    saved = SavedState(Path(checkpoint.url), manifest["world_size"])
    partitioned = engine.zero_optimization_stage() == 3
    if partitioned:
        engine.optimizer.checkpoint_event_prologue()
    for fragment in fragments(engine, averages, changed=True):
        if saved.shapes.get(fragment.name) != fragment.shape:
            raise CheckpointError(
                f"{checkpoint.url}: expected {fragment.name} of shape {list(fragment.shape)}, "
                f"found {list(saved.shapes[fragment.name]) if fragment.name in saved.shapes else 'none'}"
            )
        for kind, piece in fragment.kinds.items():
            if kind in MOMENTS and not saved.has(fragment.name, kind):
                piece.zero_()  # it never had a gradient
            else:
                saved.read(fragment.name, kind, fragment.start, piece)
    refresh(engine)
    if partitioned:
        engine.optimizer.checkpoint_event_epilogue()
    _set_counters(engine, manifest["engine"])


def _set_counters(engine: Any, saved: Mapping[str, Any]) -> None:
    for name in _COUNTERS:
        setattr(engine, name, saved[name])
    for state in base_optimizer(engine).state.values():
        if "step" in state:
            state["step"].fill_(saved["optimizer_step"])
    scaler = _loss_scaler(engine)
    for name, value in saved["loss_scale"].items():
        if hasattr(scaler, name):
            setattr(scaler, name, value)


def _loss_scaler(engine: Any) -> Any:
    """What fp16 searches its loss scale with; None in other precisions, where DeepSpeed keeps a scale of 1 that must
    not become that of a run that goes on in fp16, nor the other way round."""
    if not engine.fp16_enabled():
        return None
    optimizer = engine.optimizer
    return getattr(optimizer, "loss_scale_config", None) or getattr(optimizer, "loss_scaler", None)
