"""JSON that others wrote: the one place that reads it."""

import json
from typing import Any

MOST_TEXT = 1 << 30
"""Characters of a text: objects take ten times the memory of what they are written as."""
MOST_DEPTH = 100
"""Levels of lists and objects within each other. What is deeper ends in errors of recursion wherever it is shown,
compared or written again."""


def parse_json(text: str | bytes, most: int = MOST_TEXT) -> Any:
    """What a JSON text holds.

    Args:
        most: characters or bytes that it may have.

    Raises:
        json.JSONDecodeError: it is no JSON, is no UTF-8, is too long, has a number of thousands of digits, or lists and
            objects more than `MOST_DEPTH` within each other.
    """
    if len(text) > most:
        raise _error(f"more than {most:,} characters")
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise _error(f"more than {MOST_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise _error(f"byte {error.start} is no UTF-8") from None
    except ValueError:  # Python's own limit
        raise _error("a number with too many digits") from None
    _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            if type(outer) is dict or type(outer) is list
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise _error(f"more than {MOST_DEPTH} levels")


def _error(problem: str) -> json.JSONDecodeError:
    return json.JSONDecodeError(problem, "", 0)
