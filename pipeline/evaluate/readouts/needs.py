"""What readouts and measures need of a system, each said in a sentence where it lacks it."""

import torch
from torch import nn

from pipeline.models.attention import Attention
from pipeline.models.contract import CLASS, VISUAL
from pipeline.tasks.task import System, objective
from pipeline.tasks.tells_classes import TellsClasses

_GRID = ("time", "row", "column")


def needs_input(system: System, name: str) -> str | None:
    """An input of that name, to change it."""
    if name in system.inputs:
        return None
    return f"it needs a model that takes {name}, and this one takes {', '.join(system.inputs)}"


def needs_sound_beside(system: System) -> str | None:
    """A sound, to take it away from what else there is."""
    if "sound" in system.inputs and len(system.inputs) > 1:
        return None
    return f"the model hears no sound beside something else, it takes {', '.join(system.inputs)}"


def needs_score(system: System) -> str | None:
    """How sure the model is that what is seen and heard belong together."""
    if system.task.scores:
        return None
    return f"the objective {system.task.settings.kind} gives no score of whether frame and sound belong together"


def needs_match(system: System) -> str | None:
    """Whether what is seen and heard belong together."""
    if system.task.matches:
        return None
    return f"the objective {system.task.settings.kind} doesn't say whether frame and sound belong together"


def needs_objective(system: System, kind: type[nn.Module], called: str) -> str | None:
    """An objective of a class, alone or among several."""
    if objective(system.task, kind) is not None:
        return None
    return f"it needs a model that was trained by {called}, found task.kind = {system.task.settings.kind}"


def told_classes(system: System) -> TellsClasses | None:
    """The objective that says which classes are heard."""
    return objective(system.task, TellsClasses)  # type: ignore[type-abstract]  # those that are built are whole


def needs_told_classes(system: System) -> str | None:
    """An objective that says which classes are heard."""
    return needs_objective(system, TellsClasses, "classes (classification, separate_and_classify)")


def needs_class_maps(system: System) -> str | None:
    """Maps of classes beside the streams."""
    if system.model.class_maps is not None:
        return None
    return "it needs a model with maps of classes (model.kind = tribert)"


def needs_visual_grid(system: System) -> str | None:
    """Tokens that lie over the frames in rows and columns."""
    grid = system.model.grids.get(VISUAL)
    if grid is not None and grid.names == _GRID:
        return None
    found = "there are none" if grid is None else f"they lie by {', '.join(grid.names)}"
    return f"it needs {VISUAL} tokens that lie by {', '.join(_GRID)}, and {found}"


def needs_attention(system: System, queries: str, keys: str) -> str | None:
    """Attention of one stream to another."""
    attention = attention_of(system)
    if attention is not None and attention.between(queries, keys) is not None:
        return None
    return f"the model gives no attention of {queries} to {keys} tokens"


def needs_joint_attention(system: System) -> str | None:
    """One sequence in which a class token and visual tokens look at all others."""
    attention = attention_of(system)
    if attention is not None and attention.joint and {CLASS, VISUAL} <= set(attention.slices):
        return None
    return f"the model gives no attention over one sequence with class and {VISUAL} tokens"


@torch.no_grad()
def attention_of(system: System) -> Attention | None:
    """The attention that a model gives, on tokens of zeros; None where it gives none."""
    model = system.model
    like = next(model.parameters())
    tokens = {name: like.new_zeros(1, grid.count, model.widths[name]) for name, grid in model.grids.items()}
    return model.encode(tokens, attention=True).attention
