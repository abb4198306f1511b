"""The device that a model is read out on."""

from typing import Literal

import torch

from pipeline.errors import SettingsError


def pick_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU.

    Raises:
        SettingsError: a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("evaluate.device: expected a GPU that torch can use, found none; use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
