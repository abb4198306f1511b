"""Importing much at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imports_at_once() -> Iterator[None]:
    """A block that imports large libraries: hundreds of thousands of objects are made of which none is garbage, and to
    look through them again and again, as Python does, takes a seventh of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
