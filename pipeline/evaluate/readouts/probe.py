"""One pass through a model that keeps what readouts look at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.tasks.mma import TaskModel


@dataclass(frozen=True)
class Probe:
    """One pass, with the graph from the embedded tokens on.

    Attributes:
        embedded: tokens [B, N, D] as they enter the encoder.
        attention: for each layer [B, heads, N, N]; rows are queries.
        match_logit: [B] logit of match over no match.
    """

    embedded: Tensor
    attention: list[Tensor]
    match_logit: Tensor


@torch.enable_grad()
def probe(task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Probe:
    """Run the model; gradients of the logit with respect to the attention and the embedded tokens can be asked for."""
    with torch.no_grad():
        embedded = task_model.model.embed(frames, waveform)
    embedded.requires_grad_()
    tokens, attention = task_model.model.encoder(embedded, return_attention=True)
    return Probe(embedded, attention, task_model.match_logit(tokens))
