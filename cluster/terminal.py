"""Text for a terminal: what files, labels and servers say can't move its cursor, rename it or hide what stood there."""

import logging
import re

from cluster.masking import mask_urls

# control characters but tab and line feed, and those that turn the direction of writing
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]")


def printable(text: str) -> str:
    """A text as it is shown to people: control characters as `\\x1b`, and the secrets of URLs masked."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), mask_urls(text))


class PrintableFormatter(logging.Formatter):
    """Log lines as they are shown to people."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return printable(super().format(record))
