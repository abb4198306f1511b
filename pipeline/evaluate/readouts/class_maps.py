"""Where the classes are that are heard, by the maps that a model has of each (TriBERT, paper 001, Figure 2)."""

import torch
from torch import Tensor

from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.readouts.needs import needs_class_maps, needs_told_classes, told_classes
from pipeline.evaluate.readouts.readout import Readout, centres_of, on_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import CLASS_MAPS, Inputs
from pipeline.tasks.task import System
from pipeline.tasks.tells_classes import TellsClasses


class ClassMapsReadout(Readout):
    """The maps of all classes, each as much as the objective's head finds that its class is to be heard. No label is
    asked for: those of training have given the maps their names."""

    name = "class_maps"
    cost = "1 forward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        reason = needs_class_maps(system) or needs_told_classes(system)
        if reason is None and not _named_by(system).maps_weight:
            return "the model's class maps have no names: it was trained with task.maps_weight = 0"
        return reason

    def centres(self, system: System) -> Centres | None:
        """Of the maps' cells."""
        return None if system.model.class_maps is None else centres_of(system.model.class_maps)

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w] of how much of what is heard each cell shows."""
        model = system.model
        assert model.class_maps is not None  # else there is a reason against it
        embedded = model.embed(inputs)
        heard = _named_by(system).heard(model.fuse(embedded))
        return torch.einsum("bhwc,bc->bhw", on_grid(model.class_maps, embedded[CLASS_MAPS].float()), heard)


def _named_by(system: System) -> TellsClasses:
    task = told_classes(system)
    assert task is not None  # else there is a reason against it
    return task
