"""What the class token looks at."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_attention, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import CLASS, VISUAL, Inputs
from pipeline.tasks.task import System


class ClassTokenReadout(Readout):
    """Attention of the class token to the visual tokens in the last layer, mean over heads (section 3.3: "what the
    model is looking at"). The head reads the class token, so this attention is trained, unlike the others there."""

    name = "class_token"
    cost = "1 forward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        return needs_visual_grid(system) or needs_attention(system, CLASS, VISUAL)

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w] of attention weights."""
        model = system.model
        last = model.attention_layers - 1
        attention = model.fuse(model.embed(inputs), attention=[last]).attention
        looked = None if attention is None else attention.between(CLASS, VISUAL)
        if looked is None:
            raise TypeError("expected a model whose class token looks at what is visible, found none")
        return on_visual_grid(model, looked[last].to_keys())
