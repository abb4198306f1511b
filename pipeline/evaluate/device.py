"""The device that a model is read out on."""

import torch

from pipeline.errors import SettingsError


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU; `cpu`, `cuda`, and of several GPUs `cuda:1`.

    Raises:
        SettingsError: it is none, or a GPU is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(f"evaluate.device: expected auto, cpu, cuda or cuda:N, found {name!r}") from None
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        there = f"{found} of them" if found else "none"
        raise SettingsError(f"evaluate.device: expected a GPU that torch can use, found {there}; use auto or cpu")
    return device
