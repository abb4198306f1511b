"""Which places go with the sound over the whole clip, as an objective of synchronisation compares them."""

import torch
from torch import Tensor

from pipeline.evaluate.readouts.needs import needs_objective, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import VISUAL, Inputs
from pipeline.tasks.synchronisation import Synchronisation
from pipeline.tasks.task import System, objective


class InSyncPlacesReadout(Readout):
    """Of each place the mean product of what is seen there at each moment with the direction of what is heard at the
    same one: what `head: lags` with `places: best` has of being in sync, and how much is seen. It is of the whole
    clip."""

    name = "in_sync_places"
    cost = "1 forward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        reason = needs_objective(system, Synchronisation, "synchronisation") or needs_visual_grid(system)
        if reason is not None:
            return reason
        task = objective(system.task, Synchronisation)
        assert task is not None  # else there is a reason against it
        return None if task.settings.places == "best" else "its objective compares no places (task.places = best)"

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], in logits."""
        task = objective(system.task, Synchronisation)
        assert task is not None  # else there is a reason against it
        places = task.in_sync_by_place(system.model.embed(inputs))
        return places.view(len(places), *system.model.grids[VISUAL].shape[1:])
