"""What libraries raise over bytes that nobody vouches for: anything. Here it becomes one kind of error."""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import UserError


@contextmanager
def errors_are_damage() -> Iterator[None]:
    """A block, or as a decorator a function, that parses or decodes bytes which are in memory: whatever it raises is
    the fault of these bytes, as it would be again, and becomes a `ValueError` that names its kind. Only an end of the
    memory is left as it is, and what is meant for the user.

    Raises:
        ValueError: instead of `RecursionError`, `struct.error`, `OverflowError`, `zlib.error` and all others.
    """
    try:
        yield
    except (ValueError, UserError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
