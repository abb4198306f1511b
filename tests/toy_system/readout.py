"""Where in the frame the keypoints look."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_attention, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import VISUAL, Inputs
from pipeline.tasks.task import System
from toy_system.model import KEYPOINTS


class PointsLook(Readout):
    """Attention of the keypoints to the visual tokens in the last layer, mean over heads and points."""

    name = "points_look"
    cost = "1 forward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        return needs_visual_grid(system) or needs_attention(system, KEYPOINTS, VISUAL)

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        last = system.model.attention_layers - 1
        attention = system.model.fuse(system.model.embed(inputs), attention=[last]).attention
        looked = None if attention is None else attention.between(KEYPOINTS, VISUAL)
        assert looked is not None  # else there was a reason against it
        return on_visual_grid(system.model, looked[last].to_keys())
