"""Features of batches: what the networks give, on its way to the host while the next batch is computed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.extract.networks.build import build_network, shapes_of
from pipeline.extract.networks.contract import Moments, Network
from pipeline.extract.settings import ExtractSettings, ModelChoice
from pipeline.models.contract import Inputs
from pipeline.stream.batch import Batch
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.reader import Note

_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Member:
    """Features as they are stored.

    Attributes:
        name: of the member, without `.npy`.
        shape: of one sample's.
        weights_sha256: of the network.
    """

    name: str
    model: str
    shape: tuple[int, ...]
    weights_sha256: str


class Features:
    """Features of a batch, on the host.

    Attributes:
        notes: what came with the samples.
    """

    def __init__(self, notes: Sequence[Note], made: Mapping[str, Tensor]) -> None:
        self.notes = notes
        finite = torch.stack([values.flatten(1).isfinite().all(1) for values in made.values()]).all(0)
        # from a GPU into pinned memory, beside what is computed next
        self._made = {name: values.to("cpu", non_blocking=True) for name, values in made.items()}
        self._finite = finite.to("cpu", non_blocking=True)
        self._come = torch.cuda.Event() if finite.is_cuda else None  # type: ignore[no-untyped-call]
        if self._come is not None:
            self._come.record()

    def samples(self) -> Iterator[tuple[Note, Mapping[str, npt.NDArray[np.floating]] | None]]:
        """Of each sample its note, and its arrays by member; None where one is beyond what numbers can be."""
        if self._come is not None:
            self._come.synchronize()
        arrays = {name: values.numpy() for name, values in self._made.items()}
        for place, (note, finite) in enumerate(zip(self.notes, self._finite.tolist(), strict=True)):
            yield note, {name: values[place] for name, values in arrays.items()} if finite else None


class Networks:
    """The networks of a pass over a set.

    Attributes:
        members: what they give.

    Raises:
        SettingsError: a network can't be had, or two give members of one name.
    """

    def __init__(self, settings: ExtractSettings, moments: Moments, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._networks: list[tuple[Network, dict[str, str]]] = []
        self.members: list[Member] = []
        for choice in settings.models:
            network = build_network(choice, settings, moments, device)
            shapes, weights = shapes_of(network, device), network.weights_sha256()
            names = {name: _member(choice, name) for name in shapes}
            self._networks.append((network, names))
            self.members += [Member(names[name], choice.model, shape, weights) for name, shape in shapes.items()]
        called = [member.name for member in self.members]
        twice = next((name for place, name in enumerate(called) if name in called[:place]), None)
        if twice is not None:
            raise SettingsError(f"--model: expected members of different names, found {twice} twice; say NAME=MODEL")

    @property
    def fields(self) -> list[FieldSpec]:
        """What samples are decoded into, each once."""
        return list({field.name: field for network, _ in self._networks for field in network.fields}.values())

    def of(self, batches: Iterable[Batch]) -> Iterator[Features]:
        """Features of batches; while one's are written the next one's are computed on a GPU."""
        before: Features | None = None
        for batch in batches:
            made = Features(batch.notes, self.compute(batch.inputs(self._device)))
            if before is not None:
                yield before
            before = made
        if before is not None:
            yield before

    @torch.no_grad()
    def compute(self, inputs: Inputs) -> dict[str, Tensor]:
        """Features by member, [B, …] each, on the device in the type that they are stored in."""
        dtype = _DTYPES[self._settings.dtype]
        made: dict[str, Tensor] = {}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._settings.precision == "bf16"):
            for network, names in self._networks:
                made |= {names[name]: values.to(dtype) for name, values in network(inputs).items()}
        return made


def _member(choice: ModelChoice, name: str) -> str:
    """What features are called: a trained model's have a name of their own behind the one that is chosen."""
    if choice.name is None:
        return name
    return f"{choice.name}.{name}" if choice.is_checkpoint else choice.name
