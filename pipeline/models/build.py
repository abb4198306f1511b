"""Models from settings: on the meta device first, then filled with seeded weights on their own device."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def build_on(device: torch.device | str, seed: int, make: Callable[[], M]) -> M:
    """Make a model without memory, move it to `device` and initialise it; the same seed gives the same weights."""
    with torch.device("meta"):
        model = make()
    # as `to_empty`, which would import sympy to ask for the order of strides
    model = model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device))  # type: ignore[no-untyped-call]
    where = torch.device(device)
    with torch.random.fork_rng([where] if where.type == "cuda" else []):  # what else draws goes on undisturbed
        torch.manual_seed(seed)
        model.apply(_initialise)
    return model


def _initialise(module: nn.Module) -> None:
    """Weights as in BERT and ViT (linear: truncated normal, 0.02) and ResNet (convolution: Kaiming, fan out)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif callable(reset := getattr(module, "reset_parameters", None)):
        reset()
    elif any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False)):
        raise TypeError(f"{type(module).__name__} has parameters or buffers but no reset_parameters()")
