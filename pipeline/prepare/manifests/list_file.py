"""A text file with a path or URL a line."""

from cluster import storage
from pipeline.prepare.manifests.raw_row import RawRow, check_row


def read_list(file: str) -> list[RawRow]:
    """Rows of a list file; empty lines and lines that start with `#` are passed over."""
    lines = enumerate(storage.read_text(file).splitlines(), 1)
    wanted = [(line, text.strip()) for line, text in lines if text.strip() and not text.lstrip().startswith("#")]
    return [check_row({"source": text}, file, line) for line, text in wanted]
