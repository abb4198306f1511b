"""Doing something in a thread that does not keep the process from ending."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def beside(make: Callable[[], T]) -> Future[T]:
    """What `make` gives or raises, once it has."""
    made: Future[T] = Future()

    def fulfil() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    Thread(target=fulfil, daemon=True).start()
    return made
