"""Starting without torch's compiler, where nothing is compiled: its import takes a second or two of every start, and a
hundred megabytes of each process."""

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import torch
import torch.utils.checkpoint

_MARK = "__dynamo_disable"
"""Where a function that the compiler must not look into keeps what is called in its stead; made by the compiler, which
is imported for it, at the first call."""


def need_compiler(compiles: bool) -> None:
    """Have the functions of optimisers and of recomputation that must not be compiled be called as they are, unless
    something in this process compiles."""
    for function in _not_compiled():
        if not compiles:
            setattr(function, _MARK, function)
        elif getattr(function, _MARK, None) is function:
            delattr(function, _MARK)


def _nothing() -> None:
    pass


def _not_compiled() -> Iterator[Any]:
    """The functions in torch that are wrapped so that the compiler does not look into them."""
    wrapper: Any = torch._disable_dynamo(_nothing)  # type: ignore[attr-defined]
    places: list[type | ModuleType] = [torch.optim.Optimizer, torch.utils.checkpoint]
    for place in places:
        for function in vars(place).values():
            if isinstance(function, FunctionType) and function.__code__ is wrapper.__code__:
                yield function.__wrapped__  # type: ignore[attr-defined]
