"""What TriBERT's visual tokens were pooled by, as far as they speak for what is heard."""

import torch
from torch import Tensor

from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.readouts.needs import needs_class_maps, needs_told_classes, told_classes
from pipeline.evaluate.readouts.readout import Readout, centres_of, on_grid
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.models.contract import CLASS_MAPS, VISUAL, AudioVisualModel, Inputs, Tokens
from pipeline.tasks.task import System


class TokenMapsReadout(Readout):
    """The maps of the classes whose features are the visual tokens of the middle frame, each times what its token gives
    to the score of the classes that are heard: its product with the score's gradient. So maps are read whose classes no
    label has named, as in the paper."""

    name = "token_maps"
    cost = "1 forward, 1 backward"

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        return cls()

    def reason_against(self, system: System) -> str | None:
        return needs_class_maps(system) or needs_told_classes(system)

    def centres(self, system: System) -> Centres | None:
        """Of the maps' cells."""
        return None if system.model.class_maps is None else centres_of(system.model.class_maps)

    @torch.enable_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w]."""
        model, task = system.model, told_classes(system)
        assert task is not None  # else there is a reason against it
        with torch.no_grad():
            embedded = model.embed(inputs)
        tokens = embedded[VISUAL].detach().requires_grad_()
        encoded = model.fuse(embedded | {VISUAL: tokens})
        score = (task.heard(encoded).detach() * task.seen(encoded)).sum()
        (gradient,) = torch.autograd.grad(score, tokens)
        grid = model.grids[VISUAL]
        given = grid.laid_out((gradient * tokens.detach()).float().sum(2))  # [B, T, objects]
        _, maps = token_maps(model, embedded)
        return torch.einsum("bohw,bo->bhw", maps, given[:, grid.shape[0] // 2])


def token_maps(model: AudioVisualModel, embedded: Tokens) -> tuple[Tensor, Tensor]:
    """The classes [B, objects] that are the visual tokens of the middle frame, the surest first, and their maps
    [B, objects, h, w]."""
    assert model.class_maps is not None  # else there is a reason against it
    maps = on_grid(model.class_maps, embedded[CLASS_MAPS].float()).permute(0, 3, 1, 2)
    classes = maps.mean((2, 3)).topk(model.grids[VISUAL].shape[-1]).indices
    return classes, maps.gather(1, classes[..., None, None].expand(-1, -1, *maps.shape[2:]))
