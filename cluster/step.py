"""What a pool of workers says of its items, wherever it works."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

I = TypeVar("I")  # noqa: E741  the item
R = TypeVar("R")


@dataclass(frozen=True)
class Step(Generic[I, R]):
    """What happened to an item.

    Attributes:
        state: `value`, it gave a value; `done`; `restarted`, its worker died, what it gave counts no more and it is
            done once more; `lost`, its workers died too often.
        message: for `restarted` and `lost`, how the worker died.
    """

    item: I
    state: Literal["value", "done", "restarted", "lost"]
    value: R | None = None
    message: str = ""
