"""Files of tensors by name, read without running code from them."""

import pickle
from collections.abc import Iterable, Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cluster.once_a_machine import copied_once_a_machine
from pipeline.errors import SettingsError

_NAMED = 3
"""Most tensors that a sentence names."""
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError)
"""What torch raises for a file of something else: a web page, say, taken for a pickle."""


def read_tensors(file: str, setting: str) -> dict[str, Tensor]:
    """The tensors of a file (path or URL), on the CPU.

    Args:
        setting: that names the file.

    Raises:
        SettingsError: it holds something else.
        StorageError: no such file.
    """
    try:
        with copied_once_a_machine(file) as local:
            if file.endswith(".safetensors"):
                found = load_file(local)
            else:
                found = torch.load(local, map_location="cpu", weights_only=True)
    except (SafetensorError, *_UNREADABLE) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(f"{setting}: expected a file of tensors, found {file}: {reason}") from None
    named = isinstance(found, Mapping) and all(isinstance(name, str) for name in found)
    if not named or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise SettingsError(f"{setting}: expected a dictionary of tensors in {file}, found something else")
    return dict(found)


def some_names(names: Iterable[str]) -> str:
    """The first names of tensors, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
