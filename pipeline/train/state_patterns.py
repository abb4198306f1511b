"""Patterns over the names of a model's parameters and buffers: `model.visual_embedder.*`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from pipeline.errors import SettingsError
from pipeline.settings.explain import did_you_mean

STATES = "a parameter or buffer of the model"


def first_fit(name: str, patterns: Iterable[str]) -> str | None:
    """The first of the patterns that fits a name, as of files: * stands for anything, dots too."""
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)


def check_all_fit(setting: str, patterns: Iterable[str], names: Iterable[str], what: str) -> None:
    """Refuse patterns that would do nothing.

    Args:
        setting: that holds them.
        what: the names are of.

    Raises:
        SettingsError: the first that fits none of the names.
    """
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = did_you_mean(pattern.rstrip(".*"), sorted({part for name in names for part in _beginnings(name)}))
            raise SettingsError(f"{setting}: expected patterns that fit {what}, found {pattern!r}{near}")


def _beginnings(name: str) -> Iterable[str]:
    """A name, and the parts of the model that it lies in."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))
