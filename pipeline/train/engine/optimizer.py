"""torch's optimisers over a model's parameters, those that decay and those that don't."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from pipeline.errors import SettingsError
from pipeline.train.engine.muon import ADAM_STATES, IS_MUON, MOMENTUM, Muon, matrices_of
from pipeline.train.settings import TrainSettings
from pipeline.train.state_patterns import first_fit


def build_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """torch's fused optimiser, which runs on GPUs and CPUs without compiling anything, and steps ZeRO's flat partitions
    as it does parameters.

    Without ZeRO and in float32, where DeepSpeed neither looks for non-finite gradients nor tells their norm, it does
    both itself.
    """
    kind = KINDS[settings.optimizer]
    alone = settings.zero_stage == 0 and settings.precision == "fp32"
    made: Any = kind.checked if alone else kind.plain
    chosen = kind.matrices(model)
    optimizer: torch.optim.Optimizer = made(
        parameter_groups(model, settings.weight_decay, settings.learning_rates, chosen),
        lr=settings.learning_rate,
        fused=True,
        **kind.options(settings),
    )
    if isinstance(optimizer, Muon):
        optimizer.matrices = chosen
    if isinstance(optimizer, _Checked):
        optimizer.clip_norm = settings.clip_norm
    else:  # not by a class of its own, which DeepSpeed would warn of
        optimizer.step = MethodType(kind.checked.step_of, optimizer)  # type: ignore[method-assign]
    return optimizer


def hidden_matrices(model: nn.Module) -> dict[nn.Parameter, tuple[int, int, int]]:
    """What Muon makes orthogonal: number, rows and columns of the matrices in each parameter (see `matrices_of`)."""
    found = ((parameter, matrices_of(name, parameter)) for name, parameter, decays in _with_decay(model) if decays)
    return {parameter: matrices for parameter, matrices in found if matrices is not None}


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    rates: Mapping[str, float] | None = None,
    muon: Collection[nn.Parameter] = (),
) -> list[dict[str, Any]]:
    """Parameters that are trained, those that decay apart from those that don't, and those of another learning rate
    apart from the rest: a group's learning rate is its `rate_factor` times that of the step.

    What decays are the matrices and kernels of layers: parameters called `weight` with two dimensions or more. So norms
    and biases don't, nor do tables of embeddings, nor what a module owns besides its layers: positions, class and
    register tokens, scales.

    Args:
        rates: pattern over names → factor; the first that fits counts.
        muon: parameters that are in groups of their own, marked so.

    Raises:
        SettingsError: a pattern counts for no parameter that is trained.
    """
    rates = rates or {}
    found: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    idle = dict.fromkeys(rates)
    for name, parameter, decays in _with_decay(model):
        pattern = first_fit(name, rates)
        if pattern is not None:
            idle.pop(pattern, None)
        factor = 1.0 if pattern is None else rates[pattern]
        found.setdefault((factor, decays, parameter in muon), []).append(parameter)
    for pattern in idle:
        raise SettingsError(
            "train.learning_rates: expected patterns that fit a parameter which is trained and which none before them "
            f"fits, found {pattern!r}"
        )
    keys = sorted(found, key=lambda key: (key[0] != 1, key[0], not key[1], not key[2]))
    return [
        {
            "params": found[key],
            "weight_decay": weight_decay if key[1] else 0.0,
            "rate_factor": key[0],
            IS_MUON: key[2],
        }
        for key in keys
    ]


def _with_decay(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    seen: set[nn.Parameter] = set()
    for place, module in model.named_modules():
        table = isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                whole = f"{place}.{name}" if place else name
                yield whole, parameter, name.endswith("weight") and parameter.dim() >= 2 and not table


def _step_of(plain: type[torch.optim.Optimizer]) -> Any:
    """torch's own step, without importing the compiler only to tell it where programs would have to be cut."""
    profiled: Any = torch.optim.Optimizer.profile_hook_step(torch.no_grad()(inspect.unwrap(plain.step)))
    return staticmethod(profiled)


class _Checked(torch.optim.Optimizer):
    """Clips the gradient and leaves the step out where its norm is no finite number.

    The gradients are the same on all processes by then, and so is what is decided.

    Attributes:
        step_of: a step without that, of the optimiser that is given.
        clip_norm: largest norm of the gradient; 0 for any.
        overflow: whether the last step was left out; DeepSpeed reads it.
    """

    step_of: ClassVar[Any]
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
        self.step_of(self, closure)


class _CheckedAdam(_Checked, torch.optim.Adam):
    step_of = _step_of(torch.optim.Adam)


class _CheckedAdamW(_Checked, torch.optim.AdamW):
    step_of = _step_of(torch.optim.AdamW)


class _CheckedSGD(_Checked, torch.optim.SGD):
    step_of = _step_of(torch.optim.SGD)


class _CheckedMuon(_Checked, Muon):
    step_of = _step_of(Muon)


@dataclass(frozen=True)
class OptimizerKind:
    """What a value of `train.optimizer` means.

    Attributes:
        plain: torch's class.
        checked: it, where it looks at gradients itself.
        options: of the class, from the settings.
        states: torch's names of what it keeps beside each number that it steps, in float32. All else knows an optimiser
            by them: checkpoints have a section each, and memory is planned by their number.
        counts: whether it counts its steps, under the name `step`.
        matrices: what of a model has states of its own kind, `matrix_states`, instead; nothing, but for Muon.
    """

    plain: type[torch.optim.Optimizer]
    checked: type[_Checked]
    options: Callable[[TrainSettings], dict[str, Any]]
    states: tuple[str, ...]
    counts: bool
    matrices: Callable[[nn.Module], dict[nn.Parameter, tuple[int, int, int]]] = lambda _: {}
    matrix_states: tuple[str, ...] = ()

    @property
    def all_states(self) -> tuple[str, ...]:
        """Of anything."""
        return (*self.states, *self.matrix_states)

    def begin(self, base: Any, master: Tensor) -> None:
        """Make the states of what `base` steps, which it otherwise makes at its first step, as they are before that."""
        state = base.state[master]
        if state:
            return
        is_matrix = isinstance(base, Muon) and base.is_laid_out(master)
        if self.counts and not is_matrix:
            state["step"] = torch.zeros((), device=master.device)  # of a fused optimiser
        names = self.matrix_states if is_matrix else self.states
        state.update({name: torch.zeros_like(master.detach()) for name in names})


def _betas(settings: TrainSettings) -> dict[str, Any]:
    return {"betas": settings.betas}


def _momentum(settings: TrainSettings) -> dict[str, Any]:
    return {"momentum": settings.momentum or 0.9}


def _muon(settings: TrainSettings) -> dict[str, Any]:
    return {"betas": settings.betas, "momentum": settings.momentum or 0.95}


KINDS: Mapping[str, OptimizerKind] = {
    "adam": OptimizerKind(torch.optim.Adam, _CheckedAdam, _betas, ADAM_STATES, True),
    "adamw": OptimizerKind(torch.optim.AdamW, _CheckedAdamW, _betas, ADAM_STATES, True),
    "sgd": OptimizerKind(torch.optim.SGD, _CheckedSGD, _momentum, (MOMENTUM,), False),
    "muon": OptimizerKind(Muon, _CheckedMuon, _muon, ADAM_STATES, True, hidden_matrices, (MOMENTUM,)),
}
