"""The blocks of a model: what is compiled, and recomputed under activation checkpointing, one by one."""

from torch import nn


class Blocks(nn.ModuleList):
    """Blocks that data passes through one after the other."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """Encoder layers and the stages of embedders (a ResNet's stem and residual blocks, say), in the order in which data
    passes through them. Together they hold nearly all parameters and activations of a model, and none is inside
    another."""
    return [block for module in model.modules() if isinstance(module, Blocks) for block in module]
