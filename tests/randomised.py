"""Weights that aren't as they begin."""

from typing import TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


def randomised(module: _Module) -> _Module:
    """Norms and edges that aren't as they begin, for else they could be left out unnoticed."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.dtype == torch.float32 and not name.endswith("graph"):
                tensor.copy_(torch.rand_like(tensor) * 0.2 + (0.5 if "var" in name or tensor.dim() == 1 else -0.1))
    return module
