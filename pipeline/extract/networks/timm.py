"""Networks of timm, by name."""

import importlib
from typing import Any

import torch

from pipeline.errors import SettingsError
from pipeline.extract.networks.contract import Moments, PictureNetwork
from pipeline.features.settings import Geometry
from pipeline.models.tensor_file import read_tensors


class TimmFeatures(PictureNetwork):
    """What a network of timm has before its head: maps [B, T, h, w, D] of a convolutional one, tokens [B, T, N, D] of a
    ViT. Size and colours of the pictures are those that timm knows of it.

    Args:
        name: timm's.
        weights: a file of its weights; None are those that timm fetches.
        random: no weights: as it is initialised.

    Raises:
        SettingsError: timm is not installed, knows no such network or can't fetch its weights, or they don't fit.
    """

    def __init__(
        self, name: str, device: torch.device, moments: Moments, geometry: Geometry, weights: str | None, random: bool
    ) -> None:
        try:
            timm: Any = importlib.import_module("timm")
        except ImportError:
            raise SettingsError(
                f"--model timm/{name}: expected timm to be installed: pip install 'gavt[timm]'"
            ) from None
        if name not in timm.list_models():
            raise SettingsError(f"--model timm/{name}: expected a network that timm {timm.__version__} knows")
        try:
            module = timm.create_model(name, pretrained=weights is None and not random, num_classes=0)
            if weights is not None:
                module.load_state_dict(read_tensors(weights, "--weights"), strict=False)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise SettingsError(f"--weights: expected weights of timm/{name}: {reason}") from None
        known = timm.data.resolve_model_data_config(module)
        super().__init__(
            _BeforeHead(module).eval().to(device),
            moments,
            geometry,
            known["input_size"][-1],
            known["mean"],
            known["std"],
        )


class _BeforeHead(torch.nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.module.forward_features(pictures)
        return found.permute(0, 3, 1, 2) if getattr(self.module, "output_fmt", "NCHW") == "NHWC" else found
