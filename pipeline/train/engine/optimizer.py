"""Adam and AdamW over a model's parameters, those that decay and those that don't."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from pipeline.train.settings import TrainSettings


def build_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """torch's fused optimiser, which runs on GPUs and CPUs without compiling anything, and steps ZeRO's flat partitions
    as it does parameters.

    Without ZeRO and in float32, where DeepSpeed neither looks for non-finite gradients nor tells their norm, it does
    both itself.
    """
    alone = settings.zero_stage == 0 and settings.precision == "fp32"
    kinds: dict[tuple[str, bool], Any] = {
        ("adam", False): torch.optim.Adam,
        ("adamw", False): torch.optim.AdamW,
        ("adam", True): _CheckedAdam,
        ("adamw", True): _CheckedAdamW,
    }
    optimizer: torch.optim.Optimizer = kinds[settings.optimizer, alone](
        parameter_groups(model, settings.weight_decay),
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )
    if isinstance(optimizer, _Checked):
        optimizer.clip_norm = settings.clip_norm
    return optimizer


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay, and those that don't.

    What decays are the matrices and kernels of layers: parameters called `weight` with two dimensions or more. So norms
    and biases don't, nor do tables of embeddings, nor what a module owns besides its layers: positions, class and
    register tokens, scales.
    """
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter, decays in _with_decay(model):
        (decaying if decays else others).append(parameter)
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _with_decay(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        table = isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield parameter, name.endswith("weight") and parameter.dim() >= 2 and not table


class _Checked(torch.optim.Optimizer):
    """Clips the gradient and leaves the step out where its norm is no finite number.

    The gradients are the same on all processes by then, and so is what is decided.

    Attributes:
        clip_norm: largest norm of the gradient; 0 for any.
        overflow: whether the last step was left out; DeepSpeed reads it.
    """

    clip_norm: float
    overflow = False
    _global_grad_norm: Tensor | float = 0.0
    """Where DeepSpeed looks for it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's returns the closure's loss
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        self.overflow = not bool(norm.isfinite())
        self._global_grad_norm = float("inf") if self.overflow else norm
        if self.overflow:
            return
        if self.clip_norm:
            clip_grads_with_norm_(parameters, self.clip_norm, norm)
        super().step(closure)


class _CheckedAdam(_Checked, torch.optim.Adam):
    pass


class _CheckedAdamW(_Checked, torch.optim.AdamW):
    pass
