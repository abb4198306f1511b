"""Operations on the meta device that are worked out once: torch does it in Python, each time anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class _Like:
    """Of a tensor that lies in memory of its own."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype


class KnownResults(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Gives new tensors like those that the same operation gave of others of the same shapes, strides and types.

    Views, what is written in place, and what gives anything but new tensors on the meta device, are worked out each
    time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._known: dict[Any, Sequence[_Like | None] | _Like | None] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nobody compiles this, so that the compiler need not be asked at each operation to leave it alone."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        schema = func._schema
        if any(one.alias_info is not None for one in (*schema.arguments, *schema.returns)):
            return func(*args, **given)
        key = (func, _kind(args), _kind(tuple(given.items())))
        if (known := self._known.get(key)) is not None:
            return _made(known) if isinstance(known, _Like) else tuple(map(_made, known))
        result = func(*args, **given)
        if key not in self._known:
            self._known[key] = _described(result, args)
        return result


def _kind(value: Any) -> Any:
    """All by which the results of an operation differ."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    return tuple(map(_kind, value)) if isinstance(value, list | tuple) else (type(value), value)


def _described(result: Any, args: tuple[Any, ...]) -> Sequence[_Like | None] | _Like | None:
    """None where new tensors would not do in the place of these."""
    found = [one for one in tree_leaves(result) if one is not None]
    if not all(isinstance(one, Tensor) and one.is_meta and _is_whole(one) for one in found):
        return None
    places = [_place(one) for one in (*found, *tree_leaves(args)) if isinstance(one, Tensor)]
    if len(set(places[: len(found)])) < len(found) or not set(places[: len(found)]).isdisjoint(places[len(found) :]):
        return None  # a view, whatever its schema says
    return _like(result) if isinstance(result, Tensor) else [None if one is None else _like(one) for one in result]


def _like(tensor: Tensor) -> _Like:
    return _Like(tensor.shape, tensor.stride(), tensor.dtype)


def _made(like: _Like | None) -> Tensor | None:
    return None if like is None else torch.empty_strided(like.shape, like.strides, dtype=like.dtype, device="meta")


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _is_whole(tensor: Tensor) -> bool:
    """Whether its memory ends with it."""
    last = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.untyped_storage().nbytes() == (last + 1 if tensor.numel() else 0) * tensor.element_size()
