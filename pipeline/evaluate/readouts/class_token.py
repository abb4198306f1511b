"""What the class token looks at."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.probe import probe
from pipeline.evaluate.readouts.readout import on_visual_grid
from pipeline.tasks.mma import TaskModel


class ClassTokenReadout:
    """Attention of the class token to the visual tokens in the last layer, mean over heads (section 3.3: "what the
    model is looking at"). The head reads the class token, so this attention is trained, unlike the others there."""

    name = "class_token"

    @torch.no_grad()
    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w] of attention weights."""
        last = probe(task_model, frames, waveform).attention[-1].detach()
        layout = task_model.model.tokens
        return on_visual_grid(task_model, last[:, :, layout.class_token, layout.visual].mean(1)[:, 0])
