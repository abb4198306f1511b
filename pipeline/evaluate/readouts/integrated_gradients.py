"""Which pixels the answer rests on, by gradients along a path from a blurred frame to the frame."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.evaluate.blur import gaussian_blur
from pipeline.evaluate.readouts.needs import needs_input, needs_score
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.settings import EvaluateSettings, IntegratedGradientsSettings
from pipeline.features.inputs import FRAMES
from pipeline.models.contract import Inputs, rows_of
from pipeline.tasks.task import System

_FIRST_STEPS = 8
_BARE_SIGMA = 0.19
"""Blur of the frame that shows no objects, as a share of its side: what is smaller is gone."""
_OBJECT_SIGMA = 0.08
"""Blur of the map, as a share of its side: single pixels say little, their sum over an object much."""
_FINEST_GRID = 32
_ROUNDING = 1e-3
"""Logits by which sums of float32 may miss a difference of nearly nothing."""


@dataclass(frozen=True)
class Attribution:
    """Maps with how well they add up.

    Attributes:
        maps: [B, g, g], in logits.
        steps: [B] into how many the path was cut.
        difference: [B] the logit of the frame less that of the blurred frame.
        residue: [B] by how much the attributions miss the difference, in logits.
        missed: [B] whether that is more than was allowed.
    """

    maps: Tensor
    steps: Tensor
    difference: Tensor
    residue: Tensor
    missed: Tensor


class IntegratedGradientsReadout(Readout):
    """Integrated gradients (Sundararajan, Taly and Yan 2017) of the match logit with respect to the frame's pixels,
    from the same frame strongly blurred; summed over colours and smoothed.

    Attributions of all pixels add up to the difference between the two frames' logits (completeness) once the path is
    cut finely enough. Eight steps may miss it by most of it, so their number is doubled for each sample by itself until
    its sum is near enough, or there are as many as allowed.

    A convolutional embedder may gather what it knows of an object in one token beside it. Maps over tokens then point
    past the object; going back to the pixels undoes that.
    """

    name = "integrated_gradients"
    of_tokens = False

    def __init__(self, settings: IntegratedGradientsSettings) -> None:
        self.settings = settings
        self.cost = f"{_FIRST_STEPS + 1} to {settings.most_steps + 1} forward and backward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls(settings.integrated_gradients)

    def reason_against(self, system: System) -> str | None:
        return needs_score(system) or needs_input(system, FRAMES)

    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, g, g] with g at most 32, in logits; finer than the visual tokens."""
        return self.attribute(system, inputs).maps

    def attribute(self, system: System, inputs: Inputs) -> Attribution:
        """The maps, and how well they add up. Not more samples than those of the batch go through the model at once.

        The integral is the trapezoidal rule's, whose points are still of use when the steps are halved.
        """
        frames = inputs["frames"]
        side = frames.shape[-1]
        bare = gaussian_blur(frames.flatten(0, 1), _BARE_SIGMA * side).view_as(frames)
        path = _Path(system, bare, inputs)
        everyone = torch.arange(len(frames), device=frames.device)
        ends = path.add(everyone, [0.0, 1.0], weight=0.5)
        difference = ends[1] - ends[0]
        allowed = self.settings.residue * difference.abs() + _ROUNDING
        steps = torch.full_like(everyone, _FIRST_STEPS)
        path.add(everyone, [step / _FIRST_STEPS for step in range(1, _FIRST_STEPS)])
        count, missed = _FIRST_STEPS, everyone
        while True:
            residue = (path.attributions(steps).flatten(1).sum(1) - difference).abs()
            missed = missed[residue[missed] > allowed[missed]]  # never a sample that is not finite: no step mends it
            if not len(missed) or 2 * count > self.settings.most_steps:
                break
            count *= 2
            path.add(missed, [step / count for step in range(1, count, 2)])
            steps[missed] = count
        shares = path.attributions(steps)[:, frames.shape[1] // 2].sum(dim=1)
        smooth = gaussian_blur(shares[:, None], _OBJECT_SIGMA * side)
        maps = functional.adaptive_avg_pool2d(smooth, min(side, _FINEST_GRID))[:, 0]
        return Attribution(maps, steps, difference, residue, residue > allowed)


class _Path:
    """Gradients of the match logit, summed over points of the straight line from `bare` to `frames`."""

    def __init__(self, system: System, bare: Tensor, inputs: Inputs) -> None:
        self.system, self.bare, self.frames = system, bare, inputs["frames"]
        self.gradients = torch.zeros_like(self.frames)
        with torch.no_grad():  # of all that does not change along the line, once
            self.others = system.model.embed({name: value for name, value in inputs.items() if name != "frames"})

    @torch.enable_grad()
    def add(self, samples: Tensor, places: list[float], weight: float = 1.0) -> Tensor:
        """Add the gradients of some samples at places in 0–1 of the line; gives the logits there, [places, samples]."""
        model = self.system.model
        which = samples.repeat(len(places))
        along = torch.tensor(places, device=samples.device).repeat_interleave(len(samples))
        logits = []
        at_once = len(self.frames)
        for some, place in zip(torch.split(which, at_once), torch.split(along, at_once), strict=True):
            bare, frames = self.bare[some], self.frames[some]
            between = (bare + (frames - bare) * place.view(-1, 1, 1, 1, 1)).requires_grad_()
            others = rows_of(self.others, dict.fromkeys(self.others, some))
            logit = self.system.task.score(model.fuse(model.embed({"frames": between}) | others))
            (gradient,) = torch.autograd.grad(logit.sum(), between)
            self.gradients.index_add_(0, some, gradient, alpha=weight)
            logits.append(logit.detach())
        return torch.cat(logits).view(len(places), len(samples))

    def attributions(self, steps: Tensor) -> Tensor:
        """[B, T, 3, H, W] once the line of each sample is cut into so many steps."""
        return (self.frames - self.bare) * self.gradients / steps.view(-1, 1, 1, 1, 1)
