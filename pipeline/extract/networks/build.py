"""The network that settings ask for, with its weights, and what it gives."""

import os
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from pipeline.errors import SettingsError
from pipeline.extract.networks.contract import Moments, Network, PictureNetwork
from pipeline.extract.settings import NETWORKS, TIMM, ExtractSettings, ModelChoice
from pipeline.models.build import build_on
from pipeline.models.pretrained import Pretrained, load_weights
from pipeline.models.settings import TENSOR_FILES

WEIGHTS, RANDOM = "--weights", "--random-weights"


def build_network(choice: ModelChoice, settings: ExtractSettings, moments: Moments, device: torch.device) -> Network:
    """A frozen network on the device.

    Raises:
        SettingsError: no weights, or others' ones.
        CheckpointError, StorageError: as of what is read.
    """
    geometry = settings.geometry or "squash"
    if choice.is_checkpoint:
        from pipeline.extract.networks.trained import TrainedByPart, TrainedFeatures

        if "/" not in choice.model and not os.path.exists(choice.model):
            known = f"{', '.join(NETWORKS)}, {TIMM}NAME or a run, checkpoint or export"
            raise SettingsError(f"--model: expected {known}, found {choice.model}")
        if choice.weights is not None or settings.random_weights:
            option = WEIGHTS if choice.weights is not None else RANDOM
            raise SettingsError(f"{option}: {choice.model} has weights of its own, and takes no others")
        if settings.by_part and settings.means:
            raise SettingsError("--means: expected it without --by-part, which stores places, found both")
        if settings.by_part:
            return TrainedByPart(choice.model, device, moments, settings.geometry or "centre", settings.stage)
        return TrainedFeatures(choice.model, device, settings.geometry, settings.stage, settings.means)
    if choice.model.startswith(TIMM):
        from pipeline.extract.networks.timm import TimmFeatures

        name, random = choice.model.removeprefix(TIMM), settings.random_weights
        return TimmFeatures(name, device, moments, geometry, choice.weights, random)
    if choice.model == "vggish":
        from pipeline.extract.networks.vggish import Pca, VGGish, VGGishFeatures

        module: torch.nn.Module = _filled(VGGish, choice, settings, device)
        if settings.pca is not None:
            module = torch.nn.Sequential(module, Pca(settings.pca, "--pca").to(device))
        return VGGishFeatures(module, moments)
    from pipeline.extract.networks.torchvision import VGG19, ResNet

    if choice.model == "vgg19":
        return PictureNetwork(_filled(VGG19, choice, settings, device), moments, geometry)
    make = partial(ResNet, choice.model)
    return PictureNetwork(_filled(make, choice, settings, device), moments, geometry)


def _filled(
    make: Callable[[str | None], Pretrained], choice: ModelChoice, settings: ExtractSettings, device: torch.device
) -> Pretrained:
    """A network with the weights that are chosen for it, or random ones."""
    network = build_on(device, settings.seed, lambda: make(choice.weights)).eval().requires_grad_(False)
    known = f"a file ({', '.join(TENSOR_FILES)}) or {' or '.join(network.published)}"
    if choice.weights is None and not settings.random_weights:
        raise SettingsError(f"{WEIGHTS}: expected weights of {choice.model}, {known}, found none; or {RANDOM}")
    if choice.weights is not None:
        if not choice.weights.endswith(TENSOR_FILES) and choice.weights not in network.published:
            raise SettingsError(f"{WEIGHTS}: expected weights of {choice.model}, {known}, found {choice.weights}")
        load_weights(network, WEIGHTS)
    return network


@torch.no_grad()
def shapes_of(network: Network, device: torch.device) -> Mapping[str, tuple[int, ...]]:
    """Of each of its features, the shape of one sample's."""
    noise = {field.name: field.noise(np.random.default_rng(0)) for field in network.fields}
    inputs = {
        field.name: field.on_device(torch.from_numpy(noise[field.name])[None].to(device), None)
        for field in network.fields
    }
    return {name: tuple(values.shape[1:]) for name, values in network(inputs).items()}
