"""What may differ when a run goes on, and what does."""

import json
from collections.abc import Iterator
from typing import Any

from pipeline.train.checkpoints import Checkpoint
from pipeline.train.checkpoints.saved_settings import saved_settings
from pipeline.train.run_settings import RunSettings

Change = tuple[str, Any, Any]
"""Dotted name of a setting, its value before and now."""
_FREE = {
    ("data", "train"),  # another place of the same data, or other weights; the cursor says if its order is another
    ("data", "mix"),
    ("data", "temperature"),
    ("data", "validation"),
    ("data", "workers"),
    ("data", "prefetch"),
    ("data", "cache"),
    ("data", "deadline_s"),
    ("data", "worker_memory_mb"),
    ("data", "max_bad_rate"),
    ("data", "allow_change"),
    ("train", "log_every"),
    ("train", "validate_every"),
    ("train", "validation_samples"),
    ("train", "checkpoint_every"),
    ("train", "keep_last"),
    ("train", "keep_every"),
    ("train", "background_saving"),
    ("train", "time_limit_s"),
    ("train", "health"),
    ("train", "wandb"),
    ("train", "tensorboard"),
    ("train", "maps_every"),
    ("train", "maps_judged_every"),
    ("train", "maps_judged_samples"),
    # a run may become longer, as long as the learning rates of the steps that are done stay the same
    ("train", "steps"),
    ("train", "schedule"),
    ("train", "decay_steps"),
    ("train", "final_rate"),
    ("train", "ema_decay"),  # an average begins with the weights that are there, or goes
    # how it is computed
    ("train", "micro_batch"),
    ("train", "precision"),
    ("train", "zero_stage"),
    ("train", "offload"),
    ("train", "offload_folder"),
    ("train", "activation_checkpointing"),
    ("train", "compile"),
    ("train", "deterministic"),
}


def forbidden_changes(before: RunSettings, now: RunSettings) -> Iterator[Change]:
    """Settings that decide the result of the steps that are done."""
    return _differences(_recorded(before), _recorded(now), (), free=False)


def changes_since(
    checkpoint: Checkpoint | None, now: RunSettings, world_size: int
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """What is computed otherwise than when a checkpoint was saved: by name, from what to what; and a sentence where the
    losses change with it (`micro_batch_change`)."""
    if checkpoint is None:
        return {}, None
    before, processes = saved_settings(checkpoint), checkpoint.manifest["world_size"]
    pairs = [("world_size", processes, world_size)] if processes != world_size else []
    pairs += told_changes(before, now)
    changed = {name: {"from": old, "to": new} for name, old, new in pairs}
    return changed, micro_batch_change(before, processes, now, world_size)


def told_changes(before: RunSettings, now: RunSettings) -> Iterator[Change]:
    """All others that training reads."""
    return _differences(_recorded(before), _recorded(now), (), free=True)


def micro_batch_change(before: RunSettings, processes: int, now: RunSettings, world: int) -> str | None:
    """A sentence where other samples are handled at once than before, on so many processes, and the losses depend on
    it. Settings called `norm`, `dropout` and `drop_path` mean the same in all models and objectives."""
    old, new = before.train.batch_at_once(processes), now.train.batch_at_once(world)
    system = now.model_dump(include={"model", "task"})
    norms = set(_values_of(system, "norm"))
    parts = []
    if ("batch" in norms and old != new) or ("sync_batch" in norms and old * processes != new * world):
        parts.append("the statistics of batch norm")
    draws = any(rate > 0 for name in ("dropout", "drop_path") for rate in _values_of(system, name))
    if draws and (old, processes) != (new, world):
        parts.append("what dropout draws")
    if not parts:
        return None
    at_once = [
        f"{size} samples at once on {count} process{'es' * (count > 1)}"
        for size, count in ((new, world), (old, processes))
    ]
    return f"{' instead of '.join(at_once)}: {' and '.join(parts)} and so the losses from here on are other ones"


def _values_of(values: Any, name: str) -> Iterator[Any]:
    """All values of settings of that name, wherever they stand."""
    if isinstance(values, dict):
        if name in values:
            yield values[name]
        for inner in values.values():
            yield from _values_of(inner, name)
    elif isinstance(values, list | tuple):
        for inner in values:
            yield from _values_of(inner, name)


def _recorded(settings: RunSettings) -> dict[str, Any]:
    """What a run rests on, as it is recorded, without its name and without what else an experiment has."""
    recorded = settings.model_dump(mode="json", include=set(RunSettings.model_fields) - {"name"})
    train = recorded["train"]
    return recorded | {"train": train | {"learning_rates": json.dumps(train["learning_rates"])}}  # its order counts


def _differences(before: Any, now: Any, place: tuple[str, ...], free: bool, inside: bool = False) -> Iterator[Change]:
    """Where settings differ, of those that are free or of the others; `inside` of free ones."""
    inside = inside or place in _FREE
    if before == now or (inside and not free):
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*before, *now)):
            yield from _differences(before.get(name), now.get(name), (*place, name), free, inside)
    elif inside == free:
        yield ".".join(place), before, now
