"""Splits that are named in the names of files."""

import os
import re

_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "eval": "eval",
    "evaluation": "eval",
}


def plain_split(name: str) -> str:
    """One name for all ways to write a split: `val` for `Validation`."""
    return _NAMES.get(name.lower(), name)


def split_of(url: str) -> str | None:
    """The split in a file's name (`MUSIC200k-train.csv`, `eval_segments.csv`); None where it names none, or two."""
    words = re.split(r"[^a-z]+", os.path.basename(url).lower())
    found = {_NAMES[word] for word in words if word in _NAMES}
    return found.pop() if len(found) == 1 else None
