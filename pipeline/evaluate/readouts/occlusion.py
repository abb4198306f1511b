"""Which visual tokens the answer rests on, by hiding them."""

import torch
from torch import Tensor

from pipeline.tasks.mma import TaskModel

_TOKENS_A_PASS = 1 << 17
"""Tokens of all changed sequences that go through the encoder at once."""


class OcclusionReadout:
    """How far the match logit falls when the tokens of a place are replaced by those of a frame without anything on it,
    filled with the frame's mean colour (occlusion of Zeiler and Fergus 2014, on tokens)."""

    def __init__(self, name: str, radius: int) -> None:
        """`radius` 0 hides single tokens, 1 the 3×3 tokens around each."""
        self.name = name
        self.radius = radius

    @torch.no_grad()
    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w], in logits."""
        model = task_model.model
        embedded = model.embed(frames, waveform)
        bare = model.embed(frames.mean(dim=(3, 4), keepdim=True).expand_as(frames), waveform)
        whole = _match_logit(task_model, embedded)
        layout = model.tokens
        first = layout.visual_of(layout.middle_frame).start
        hidden = hidden_tokens(layout.visual_grid, layout.count, self.radius, first).to(embedded.device)
        at_once = max(_TOKENS_A_PASS // embedded[:, :, 0].numel(), 1)
        falls = []
        for some in torch.split(hidden, at_once):
            changed = torch.where(some[None, :, :, None], bare[:, None], embedded[:, None])  # [B, places, N, D]
            logits = _match_logit(task_model, changed.flatten(0, 1)).reshape(len(embedded), len(some))
            falls.append(whole[:, None] - logits)
        return torch.cat(falls, dim=1).reshape(len(embedded), *layout.visual_grid)


def hidden_tokens(grid: tuple[int, int], count: int, radius: int, first: int = 1) -> Tensor:
    """[h·w, count]: for each visual token of a frame, which of its tokens lie within `radius` rows and columns of it.

    Args:
        count: tokens of the whole sequence.
        first: place of the frame's first token in it.
    """
    height, width = grid
    places = torch.arange(height * width)
    rows, columns = places // width, places % width
    near = ((rows[:, None] - rows).abs() <= radius) & ((columns[:, None] - columns).abs() <= radius)
    hidden = torch.zeros(height * width, count, dtype=torch.bool)
    hidden[:, first : first + height * width] = near
    return hidden


def _match_logit(task_model: TaskModel, embedded: Tensor) -> Tensor:
    tokens, _ = task_model.model.encoder(embedded)
    return task_model.match_logit(tokens)
