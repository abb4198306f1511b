"""Which visual tokens the answer rests on, by taking them away."""

from itertools import groupby

import torch
from torch import Tensor

from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.tasks.mma import TaskModel

_TOKENS_A_PASS = 1 << 17
"""Tokens of all shortened sequences that go through the encoder at once."""


class OcclusionReadout:
    """How far the match logit falls when a place's tokens are left out of the sequence (occlusion of Zeiler and Fergus
    2014; a transformer needs nothing in their stead)."""

    def __init__(self, name: str, radius: int) -> None:
        """`radius` 0 leaves out single tokens, 1 the 3×3 tokens around each."""
        self.name = name
        self.radius = radius

    @torch.no_grad()
    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w], in logits."""
        embedded = task_model.model.embed(frames, waveform)
        layout = task_model.model.tokens
        whole = _match_logit(task_model, embedded)
        kept = kept_tokens(layout.visual_grid, layout.count, self.radius)
        falls = torch.empty(len(embedded), len(kept), device=embedded.device)
        order = sorted(range(len(kept)), key=lambda place: len(kept[place]))
        for length, places in groupby(order, key=lambda place: len(kept[place])):
            here = list(places)
            at_once = max(_TOKENS_A_PASS // (length * len(embedded)), 1)
            for start in range(0, len(here), at_once):
                some = here[start : start + at_once]
                index = torch.tensor([kept[place] for place in some], device=embedded.device)
                shortened = embedded[:, index].flatten(0, 1)
                logits = _match_logit(task_model, shortened).reshape(len(embedded), len(some))
                falls[:, some] = whole[:, None] - logits
        return on_visual_grid(task_model, falls)


def kept_tokens(grid: tuple[int, int], count: int, radius: int) -> list[list[int]]:
    """For each visual token the indices of the sequence without the tokens within `radius` rows and columns of it."""
    height, width = grid
    kept = []
    for row in range(height):
        for column in range(width):
            left_out = {
                1 + y * width + x
                for y in range(max(row - radius, 0), min(row + radius + 1, height))
                for x in range(max(column - radius, 0), min(column + radius + 1, width))
            }
            kept.append([index for index in range(count) if index not in left_out])
    return kept


def _match_logit(task_model: TaskModel, embedded: Tensor) -> Tensor:
    tokens, _ = task_model.model.encoder(embedded)
    return task_model.match_logit(tokens)
