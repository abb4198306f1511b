"""Which visual tokens the answer rests on, by hiding them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_input, needs_score, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.inputs import FRAMES
from pipeline.models.contract import VISUAL, Inputs
from pipeline.tasks.task import System

_TOKENS_A_PASS = 1 << 17
"""Tokens of all changed sequences that go through the encoder at once."""


class OcclusionReadout(Readout):
    """How far the match logit falls when the tokens of a place are replaced by those of a frame without anything on it,
    filled with the frame's mean colour (occlusion of Zeiler and Fergus 2014, on tokens)."""

    cost = "1 forward, the encoder once more a visual token"

    def __init__(self, name: str, radius: int) -> None:
        """`radius` 0 hides single tokens, 1 the 3×3 tokens around each."""
        self.name = name
        self.radius = radius

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls(name, radius=int(name == "region_occlusion"))

    def reason_against(self, system: System) -> str | None:
        return needs_score(system) or needs_input(system, FRAMES) or needs_visual_grid(system)

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], in logits."""
        model, frames = system.model, inputs["frames"]
        embedded = model.embed(inputs)
        plain = model.embed({"frames": frames.mean(dim=(3, 4), keepdim=True).expand_as(frames)})
        placed, bare = model.place(embedded), model.place(embedded | plain)[VISUAL]
        whole = system.task.score(model.encode(placed))
        shape, visual = model.grids[VISUAL].shape, placed[VISUAL]
        hidden = hidden_tokens(shape, self.radius).to(visual.device)
        at_once = max(_TOKENS_A_PASS // sum(tokens[:, :, 0].numel() for tokens in placed.values()), 1)
        falls = []
        for some in torch.split(hidden, at_once):
            changed = torch.where(some[None, :, :, None], bare[:, None], visual[:, None])  # [B, places, N, D]
            others = {name: tokens.repeat_interleave(len(some), 0) for name, tokens in placed.items()}
            scores = system.task.score(model.encode(others | {VISUAL: changed.flatten(0, 1)}))
            falls.append(whole[:, None] - scores.reshape(len(visual), len(some)))
        return torch.cat(falls, dim=1).reshape(len(visual), *shape[1:])


def hidden_tokens(grid: Sequence[int], radius: int) -> Tensor:
    """[h·w, T·h·w]: for each token of the middle frame, which tokens of that frame lie within `radius` rows and columns
    of it.

    Args:
        grid: frames T, rows h and columns w of visual tokens.
    """
    frames, height, width = grid
    places = torch.arange(height * width)
    rows, columns = places // width, places % width
    near = ((rows[:, None] - rows).abs() <= radius) & ((columns[:, None] - columns).abs() <= radius)
    hidden = torch.zeros(height * width, frames, height * width, dtype=torch.bool)
    hidden[:, frames // 2] = near
    return hidden.flatten(1)
