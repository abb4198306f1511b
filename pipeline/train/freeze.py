"""Parameters that training leaves as they are, and the batch norms whose running averages stay with them."""

from collections.abc import Iterator, Sequence

from torch import nn

from pipeline.errors import SettingsError
from pipeline.tasks.task import System
from pipeline.train.state_patterns import STATES, check_all_fit, first_fit


def freeze(system: System, patterns: Sequence[str]) -> None:
    """Take the gradient from the parameters that fit one of the patterns (train.freeze), and have the batch norms
    compute with their running averages of which all parameters fit, or the averages themselves.

    Raises:
        SettingsError: a pattern fits nothing, or nothing is left to train.
    """
    check_all_fit("train.freeze", patterns, system.state_dict(keep_vars=True), STATES)
    for name, parameter in system.named_parameters():
        if first_fit(name, patterns) is not None:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in system.parameters()):
        raise SettingsError(f"train.freeze: expected parameters that are left to train, found {list(patterns)}")
    system.frozen_norms = tuple(_frozen_norms(system, patterns))


def _frozen_norms(system: nn.Module, patterns: Sequence[str]) -> Iterator[nn.Module]:
    for place, module in system.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            own = [first_fit(f"{place}.{name}", patterns) is not None for name, _ in module.named_parameters()]
            if (own and all(own)) or first_fit(f"{place}.running_mean", patterns) is not None:
                yield module
