"""What all readouts share."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from pipeline.evaluate.metrics.resize import Centres
from pipeline.models.contract import VISUAL, AudioVisualModel, Inputs, TokenGrid
from pipeline.tasks.task import System

if TYPE_CHECKING:
    from pipeline.evaluate.settings import EvaluateSettings


class Readout(ABC):
    """A way to make maps; higher means: more likely the source of the sound.

    Attributes:
        name: its row in the evaluation.
        cost: what one map takes, in passes through the model: `1 forward`, `1 forward, 1 backward`.
        of_tokens: whether its maps have a value for each visual token; else they lie evenly over the frame.
    """

    name: str
    cost: str
    of_tokens: bool = True

    @classmethod
    @abstractmethod
    def of(cls, name: str, settings: "EvaluateSettings") -> "Readout":
        """The readout of that name."""

    @abstractmethod
    def reason_against(self, system: System) -> str | None:
        """What a system lacks for it, in a sentence; None where nothing."""

    @property
    def points_into_frame(self) -> bool:
        """Whether its maps lie over the frame."""
        return True

    def centres(self, system: System) -> Centres | None:
        """Where the values of its maps over the frame lie by the model's geometry; None where that is evenly."""
        grid = system.model.grids.get(VISUAL)
        if grid is None or not self.of_tokens or not {"row", "column"} <= set(grid.names):
            return None
        return centres_of(grid)

    @abstractmethod
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w] over the frame, most of them one value a visual token, for a batch of the model's inputs.

        Of several frames the maps are of the middle one, number T // 2 counted from 0, unless a readout says otherwise.
        The model must be in eval mode.
        A sample's map does not depend on the others of the batch.
        """


def centres_of(grid: TokenGrid) -> Centres | None:
    """Where tokens with rows and columns lie; None where that is evenly."""
    centres = Centres(grid.centres("row"), grid.centres("column"))
    return None if centres.are_even else centres


def on_visual_grid(model: AudioVisualModel, values: Tensor) -> Tensor:
    """A value for each visual token [B, T·h·w] as maps [B, h, w] of the middle frame."""
    return on_grid(model.grids[VISUAL], values)


def on_grid(grid: TokenGrid, values: Tensor) -> Tensor:
    """A value for each token [B, N, …] as maps: [B, h, w, …] of the middle frame, [B, f, t, …] of a spectrogram."""
    maps = grid.laid_out(values)
    return maps[:, grid.shape[0] // 2] if grid.names == ("time", "row", "column") else maps
