"""What a place of a second looks like, given what lies around it, before and after it, and what is heard (paper 004,
section 3.2 and Table 2)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Perceptron(nn.Sequential):
    """The paper's θ and φ.

    Weights begin as in AVEL's public code (Glorot and Bengio 2010). With smaller ones, as transformers have them, what
    is heard outweighs θ(v) in the queries, all places look at the same ones, and instance attention stays even.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__(nn.Linear(width, out), nn.ReLU(), nn.Linear(out, out))

    def reset_parameters(self) -> None:
        """Behind that of its layers."""
        glorot(self)


def glorot(module: nn.Module) -> None:
    """Draw the weights of its linear layers."""
    for layer in module.children():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)


class PatchTransformer(nn.Module):
    """Each place looks at all places of its own second and of those beside it (Eq. 1–2).

    Its query is θ(v) + a, the keys are φ(v). With `keys` of `summed`, as Eq. 2 has it, the keys of a place are added up
    over the seconds, and its value is that of the own second; with `each`, every place of every second is a key with
    its own value. Equation 2 writes v_r, the query's own, in the place of the value, with which attention would change
    nothing. The value is as wide as the sound, as Eq. 3 needs it: "each channel is processed by MLP into 128
    dimensions". Beside the first and last second lie those once more.
    """

    def __init__(
        self,
        visual: int,
        width: int,
        neighbours: tuple[int, ...],
        keys: Literal["summed", "each"],
        hears: bool,
        residual: bool,
    ) -> None:
        """
        Args:
            visual: width of v.
            width: of a, and of what comes out.
            neighbours: seconds whose places are keys, counted from the own.
            hears: whether the query has a in it.
            residual: whether a place's own value is added.
        """
        super().__init__()
        self.neighbours, self.summed = neighbours, keys == "summed"
        self.hears, self.residual = hears, residual
        self.theta, self.phi, self.value = (Perceptron(visual, width) for _ in range(3))

    def forward(self, places: Tensor, sounds: Tensor) -> Tensor:
        """v [B, T, R, K] and a [B, T, D] → ṽ [B, T, R, D]"""
        query, own_keys, own_values = self.theta(places), self.phi(places), self.value(places)
        if self.hears:
            query = query + sounds[:, :, None]
        keys = [_seconds_later(own_keys, step) for step in self.neighbours]
        if self.summed:
            key, value = torch.stack(keys).sum(0), own_values
        else:
            key = torch.cat(keys, 2)
            value = torch.cat([_seconds_later(own_values, step) for step in self.neighbours], 2)
        mixed: Tensor = (query @ key.transpose(2, 3)).softmax(-1) @ value
        return mixed + own_values if self.residual else mixed


def _seconds_later(values: Tensor, step: int) -> Tensor:
    """Of each second [B, T, …] that which comes so many later; at the ends the last there is."""
    seconds = torch.arange(values.shape[1], device=values.device) + step
    return values[:, seconds.clamp(0, values.shape[1] - 1)]


class PatchPerceptron(nn.Module):
    """Each place by itself."""

    def __init__(self, visual: int, width: int) -> None:
        super().__init__()
        self.perceptron = Perceptron(visual, width)

    def forward(self, places: Tensor, sounds: Tensor) -> Tensor:
        """As of `PatchTransformer`; nothing is heard."""
        encoded: Tensor = self.perceptron(places)
        return encoded


class PatchConvolution(nn.Module):
    """A 3×3×3 convolution over seconds, rows and columns (C3D)."""

    def __init__(self, visual: int, width: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.grid = grid
        self.convolution = nn.Conv3d(visual, width, 3, padding=1)

    def forward(self, places: Tensor, sounds: Tensor) -> Tensor:
        """As of `PatchTransformer`; nothing is heard."""
        over_space = places.view(*places.shape[:2], *self.grid, -1).movedim(-1, 1)
        seen: Tensor = self.convolution(over_space).relu()
        return seen.movedim(1, -1).flatten(2, 3)


class PatchLstm(nn.Module):
    """Each place through the seconds."""

    def __init__(self, visual: int, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(visual, width, batch_first=True)

    def forward(self, places: Tensor, sounds: Tensor) -> Tensor:
        """As of `PatchTransformer`; nothing is heard."""
        batch, _, count, _ = places.shape
        through_time: Tensor = self.lstm(places.transpose(1, 2).flatten(0, 1))[0]
        return through_time.view(batch, count, len(places[0]), -1).transpose(1, 2)


class InstanceAttention(nn.Module):
    """How alike each place is to what is heard (Eq. 3)."""

    def forward(self, encoded: Tensor, sounds: Tensor) -> Tensor:
        """ṽ [B, T, R, D] and a [B, T, D] → M [B, T, R], each second's adding up to 1."""
        return torch.einsum("btrd,btd->btr", encoded, sounds).softmax(-1)


class AudioGuidedAttention(nn.Module):
    """A network of both says how far each place belongs to what is heard (AVEL, Tian et al. 2018)."""

    def __init__(self, width: int, places: int) -> None:
        """
        Args:
            width: of places and sounds.
            places: R, which the public code's hidden layer is as wide as.
        """
        super().__init__()
        hidden = 512
        self.places, self.sounds = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.of_places = nn.Linear(hidden, places, bias=False)
        self.of_sounds = nn.Linear(hidden, places, bias=False)
        self.score = nn.Linear(places, 1, bias=False)

    def reset_parameters(self) -> None:
        """Behind that of its layers."""
        glorot(self)

    def forward(self, encoded: Tensor, sounds: Tensor) -> Tensor:
        """As of `InstanceAttention`."""
        seen, heard = F.relu(self.places(encoded)), F.relu(self.sounds(sounds))
        together = self.of_places(seen) + self.of_sounds(heard)[:, :, None]
        scores: Tensor = self.score(together.tanh())[..., 0]
        return scores.softmax(-1)
