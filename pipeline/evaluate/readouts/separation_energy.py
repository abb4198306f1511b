"""How much of the sound each place keeps for itself."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_objective, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout, on_visual_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import Inputs
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.task import System, objective


class SeparationEnergyReadout(Readout):
    """The share of the sound's energy that is left by the mask of each visual token, each by itself (Sound of Pixels,
    there for pixels). The masks of a few places are held at once."""

    name = "separation_energy"
    cost = "1 forward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        lacking = needs_objective(system, MixAndSeparate, "mix-and-separate") or needs_visual_grid(system)
        task = objective(system.task, MixAndSeparate)
        if lacking is None and task is not None and task.head != "places":
            return f"it needs a mask of each place, and task.head is {task.head}"
        return lacking

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w] in 0–1."""
        task = objective(system.task, MixAndSeparate)
        if task is None:
            raise TypeError("expected a model that was trained by mix-and-separate, found another")
        kept, whole = task.place_energies(system.model, inputs)
        return on_visual_grid(system.model, kept / whole.clamp_min(torch.finfo(whole.dtype).tiny)[:, None])
