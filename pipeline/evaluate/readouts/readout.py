"""What all readouts share."""

from typing import Protocol

from torch import Tensor

from pipeline.tasks.mma import TaskModel


class Readout(Protocol):
    """A way to make maps; higher means: more likely the source of the sound.

    Attributes:
        name: its row in the evaluation.
    """

    name: str

    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w] over the frame, most of them one value a visual token, for frames
        [B, T, 3, H, W] in 0–1 and waveform [B, C, S] in −1..1.

        Of several frames the maps are of the middle one, number T // 2 counted from 0. The model must be in eval mode.
        A sample's map does not depend on the others of the batch.
        """
        ...


def on_visual_grid(task_model: TaskModel, values: Tensor) -> Tensor:
    """A value for each visual token [B, T·h·w] as maps [B, h, w] of the middle frame."""
    layout = task_model.model.tokens
    return values.reshape(len(values), layout.frames, *layout.visual_grid)[:, layout.middle_frame]
