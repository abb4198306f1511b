"""Networks that can start from published weights, torchvision's mostly."""

from collections.abc import Mapping
from urllib.error import URLError

import torch
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.models.settings import TENSOR_FILES
from pipeline.models.tensor_file import read_tensors, some_names


class Pretrained(nn.Module):
    """An embedder with a network of torchvision in it.

    Attributes:
        architecture: torchvision's name of the network; None where it has none of this size.
        weights: a file or torchvision's name of weights; None leaves the network as it was initialised.
        torchvision_prefixes: beginning of the names of parameters and buffers here → in torchvision's weights, or in
            those that others published of it.
    """

    torchvision_prefixes: dict[str, str]

    def __init__(self, architecture: str | None, weights: str | None) -> None:
        super().__init__()
        self.architecture = architecture
        self.weights = weights

    @property
    def published(self) -> tuple[str, ...]:
        """Names of weights that can be fetched."""
        from torchvision.models import get_model_weights  # takes seconds, where a name is given only

        return () if self.architecture is None else tuple(get_model_weights(self.architecture).__members__)

    def fetch(self, name: str) -> Mapping[str, Tensor]:
        """Weights of one of these names, kept below $TORCH_HOME when they were fetched once.

        Raises:
            URLError, OSError, RuntimeError: they can't be fetched.
        """
        from torchvision.models import get_model_weights

        assert self.architecture is not None  # else the settings are refused
        state: Mapping[str, Tensor] = get_model_weights(self.architecture)[name].get_state_dict(
            progress=False, check_hash=True
        )
        return state

    def adapt(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of torchvision's weights as it is used here under the name `name`: for an input of one channel (a
        spectrogram), the first convolution [O, 3, k, k] is averaged over its channels."""
        target = self.state_dict()[name]
        if tensor.dim() == 4 and target.shape[1:2] == (1,) and tensor.shape[1] == 3:
            return tensor.mean(1, keepdim=True)
        return tensor


def load_pretrained(model: nn.Module) -> None:
    """Fill the embedders of a model whose settings name weights. Every process of a job calls it, once, when a run
    begins; a run that goes on and a trained model have theirs from the checkpoint.

    Raises:
        SettingsError: weights that can't be read, or that are another network's.
        StorageError: no such file.
    """
    for name, module in model.named_modules():
        if isinstance(module, Pretrained) and module.weights is not None:
            load_weights(module, f"{name}.weights")


@torch.no_grad()
def load_weights(embedder: Pretrained, setting: str) -> None:
    """Fill a network with the weights that it names.

    Args:
        setting: that names them.

    Raises:
        SettingsError: weights that can't be read or fetched, or that are another network's.
        StorageError: no such file.
    """
    found = _read(embedder, setting)
    own = embedder.state_dict()
    sources = {name: source for name in own if (source := _source(embedder, name)) is not None}
    lacking = [source for source in sources.values() if source not in found]
    if lacking:
        raise SettingsError(
            f"{setting}: expected {len(sources)} tensors of {embedder.architecture or 'a ViT'} in {embedder.weights}, "
            f"found none named {some_names(lacking)}"
        )
    for name, source in sources.items():
        tensor = embedder.adapt(name, found[source])
        if tensor.shape != own[name].shape:
            raise SettingsError(
                f"{setting}: expected {source} of shape {list(own[name].shape)} in {embedder.weights}, "
                f"found {list(tensor.shape)}"
            )
        own[name].copy_(tensor)


def _source(embedder: Pretrained, name: str) -> str | None:
    """Torchvision's name of a parameter or buffer; None for what its weights don't have."""
    if name.endswith("num_batches_tracked"):
        return None
    # frozen norms have other names than torchvision's batch norms
    name = name.removesuffix(".mean") + ".running_mean" if name.endswith(".mean") else name
    name = name.removesuffix(".variance") + ".running_var" if name.endswith(".variance") else name
    for ours, theirs in embedder.torchvision_prefixes.items():
        if name == ours:
            return theirs
        if name.startswith(f"{ours}."):
            # nn.MultiheadAttention writes in_proj_weight, not in_proj.weight
            return theirs + ("_" if theirs.endswith(".in_proj") else ".") + name[len(ours) + 1 :]
    return None


def _read(embedder: Pretrained, setting: str) -> Mapping[str, Tensor]:
    weights = str(embedder.weights)
    if not weights.endswith(TENSOR_FILES):
        return _fetch(embedder, setting)
    found = read_tensors(weights, setting)
    # files from before torchvision 0.13
    return {name.replace("mlp.linear_1", "mlp.0").replace("mlp.linear_2", "mlp.3"): found[name] for name in found}


def _fetch(embedder: Pretrained, setting: str) -> Mapping[str, Tensor]:
    weights = str(embedder.weights)
    try:
        return embedder.fetch(weights)
    except (URLError, OSError, RuntimeError) as error:
        raise SettingsError(f"{setting}: {weights} of {embedder.architecture} could not be fetched: {error}") from None
