"""Learning rate over the steps."""

import math

from pipeline.train.settings import TrainSettings


def learning_rate_at(step: int, settings: TrainSettings) -> float:
    """Learning rate of step `step`, counted from 0: linear warm-up, then constant, a cosine, constant and a straight
    line down (warm-up–stable–decay), or half as much again and again."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "halving":
        return settings.learning_rate * 0.5 ** ((step - settings.warmup_steps) // settings.decay_steps)
    if settings.schedule == "cosine":
        through = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        left = 0.5 * (1 + math.cos(math.pi * min(1.0, through)))
    else:
        left = min(1.0, max(0, settings.steps - step) / max(1, settings.decay_steps))
    return settings.learning_rate * (settings.final_rate + (1 - settings.final_rate) * left)
