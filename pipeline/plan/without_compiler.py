"""Planning without torch's compiler, whose import takes as long as all the rest.

Torch works operations on the meta device out in Python, and asks the compiler of many of them, at the first call, to
leave them alone; recomputation asks it so too, and whether it is at work. While nothing is compiled there is an answer
without it (`pipeline.train.engine.without_compiler` gives it for a training).
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
import torch._decomp.decompositions
import torch._refs
import torch._refs.nn.functional
import torch.utils.checkpoint

_MARK = "__dynamo_disable"
"""Where a function that is to be left alone keeps what is called in its stead."""
_NAME = "_dynamo"


@contextmanager
def without_compiler() -> Iterator[None]:
    """A block in which nothing is compiled. Who asks for more of the compiler than that gets it."""
    if f"torch.{_NAME}" in sys.modules:
        yield
        return
    marked = [function for function in _left_alone() if not hasattr(function, _MARK)]
    for function in marked:
        setattr(function, _MARK, function)
    stand_in = _StandIn()
    setattr(torch, _NAME, stand_in)
    try:
        yield
    finally:
        for function in marked:
            delattr(function, _MARK)
        if vars(torch).get(_NAME) is stand_in:
            delattr(torch, _NAME)


class _StandIn:
    """`torch._dynamo` before it is imported: torch imports it when it is asked for that attribute."""

    config = SimpleNamespace(error_on_nested_fx_trace=False)

    @staticmethod
    def disable(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(f"torch.{_NAME}"), name)


def _nothing() -> None:
    pass


def _left_alone() -> Iterator[FunctionType]:
    """The functions behind those in torch that are wrapped so that the compiler does not look into them."""
    wrapper: Any = torch._disable_dynamo(_nothing)  # type: ignore[attr-defined]
    from torch.utils.flop_counter import _FlopCounterMode  # with triton, for who counts

    places = (torch._refs, torch._refs.nn.functional, torch._decomp.decompositions, torch.utils.checkpoint)
    left: list[Any] = [one for place in (*places, _FlopCounterMode) for one in vars(place).values()]
    seen = set[FunctionType]()
    while left:
        function = left.pop()
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        inside = [cell.cell_contents for cell in function.__closure__ or ()]
        if function.__code__ is wrapper.__code__:
            yield from (one for one in inside if isinstance(one, FunctionType))
        left += inside
