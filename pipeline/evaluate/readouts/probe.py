"""One pass through a model that keeps what readouts look at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.attention import Attention, Layers
from pipeline.models.contract import Inputs, Tokens
from pipeline.tasks.task import System


@dataclass(frozen=True)
class Probe:
    """One pass, with the graph from the embedded tokens on.

    Attributes:
        placed: tokens of each stream [B, N, D] as they enter the encoder.
        attention: what the streams looked at; None where that was not asked for.
        score: [B] how sure the model is that sound and frame belong together.
    """

    placed: Tokens
    attention: Attention | None
    score: Tensor


@torch.enable_grad()
def probe(system: System, inputs: Inputs, attention: Layers = False) -> Probe:
    """Run the model; gradients of the score with respect to the placed tokens, and what attention watches, can be asked
    for."""
    model = system.model
    with torch.no_grad():
        placed = model.place(model.embed(inputs))
    placed = {name: tokens.detach().requires_grad_() for name, tokens in placed.items()}
    encoded = model.encode(placed, attention)
    return Probe(placed, encoded.attention, system.task.score(encoded))
