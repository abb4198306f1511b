"""From a mixture's spectrogram and what is seen to a mask: an attention U-Net (paper 001; Oktay et al. 2018)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.models.blocks import Blocks
from pipeline.models.contract import TokenGrid, Tokens
from pipeline.models.dropout import Dropout
from pipeline.models.norms import norm_layer
from pipeline.models.recompute import run_block
from pipeline.models.repeatable import resampled
from pipeline.models.settings import Norm
from pipeline.tasks.mask_decoder import padded
from pipeline.tasks.mix_and_separate_settings import Fusion, Look
from pipeline.tasks.over_time import by_time


class AttentionUnet(nn.Module):
    """Pairs of 3×3 convolutions, halved by max pooling on the way down, doubled by transposed convolutions on the way
    up beside what was there on the way down, as far as a gate lets it through.

    At the bottleneck, features b meet what is seen, v of the same width. By `channels`, of the sigmoid of v, each
    frequency has a softmax over channels, of the features' sum over time each times v, and b grows by v times that (the
    public code). By `sum` b grows by v: attention to one vector alone. Then a network of two layers is added at each
    place. By `components` they don't meet here.
    """

    def __init__(self, widths: Sequence[int], channels: int, norm: Norm, fusion: Fusion) -> None:
        """`widths`: channels at each resolution, the first that of the spectrogram, the last the bottleneck's;
        `channels` of the result."""
        super().__init__()
        self.fusion = fusion
        self.down = Blocks(_convolutions(before, after, norm) for before, after in pairwise((1, *widths)))
        if fusion != "components":
            self.mlp = nn.Sequential(nn.Linear(widths[-1], widths[-1]), nn.ReLU(), nn.Linear(widths[-1], widths[-1]))
        above = [*pairwise(reversed(widths))]
        self.doubling = nn.ModuleList(nn.ConvTranspose2d(before, after, 2, 2) for before, after in above)
        self.gates = nn.ModuleList(_Gate(width, norm) for _, width in above)
        self.up = Blocks(_convolutions(2 * width, width, norm) for _, width in above)
        self.out = nn.Conv2d(widths[0], channels, 1)

    def forward(self, spectrogram: Tensor, seen: Tensor, of: Tensor) -> Tensor:
        """
        Args:
            spectrogram: log magnitudes of mixtures [M, 1, F, T].
            seen: [P, D, t], t evenly over the time or 1, D the bottleneck's width.
            of: [P] the mixture that each is of.

        Returns:
            [P, channels, F, T]
        """
        frequencies, times = spectrogram.shape[-2:]
        features = padded(spectrogram, 2 ** len(self.up))
        finer: list[Tensor] = []
        for block in self.down:
            features = run_block(block, F.max_pool2d(features, 2) if finer else features)
            finer.append(features)
        features, met = finer.pop(), self.fusion != "components"
        features = self.fuse(features[of], seen) if met else features
        for doubling, gate, block in zip(self.doubling, self.gates, self.up, strict=True):
            features, beside = doubling(features), finer.pop()
            features = run_block(block, torch.cat([features, gate(features, beside[of] if met else beside)], dim=1))
        found: Tensor = self.out(features)[..., :frequencies, :times]
        return found if met else found[of]

    def fuse(self, features: Tensor, seen: Tensor) -> Tensor:
        """The bottleneck [P, D, f, t'], and what is seen [P, D, t]."""
        if seen.shape[2] > 1:
            seen = resampled(seen, features.shape[3])
        seen = seen[:, :, None]
        if self.fusion == "channels":
            seen = seen.sigmoid()
            seen = seen * (features * seen).sum(3, keepdim=True).softmax(1)
        joined = features + seen
        return joined + self.mlp(joined.movedim(1, 3)).movedim(3, 1)  # type: ignore[no-any-return]  # a module's call


class _Gate(nn.Module):
    """Lets features through, each place as far as they and coarser ones, sent up, say together."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        layer, inner = norm_layer(norm), max(width // 2, 1)
        self.coarser = nn.Sequential(nn.Conv2d(width, inner, 1), layer(inner))
        self.finer = nn.Sequential(nn.Conv2d(width, inner, 1), layer(inner))
        self.opens = nn.Sequential(nn.Conv2d(inner, 1, 1), layer(1), nn.Sigmoid())

    def forward(self, coarser: Tensor, finer: Tensor) -> Tensor:
        opens: Tensor = self.opens((self.coarser(coarser) + self.finer(finer)).relu())
        return finer * opens


class StreamPool(nn.Module):
    """What is seen and heard, as one vector: of each stream a linear layer with ReLU over tokens, their mean, one
    stream behind the other (public code of paper 001).

    With `whole` the tokens are those that stand for all (⟨SOS⟩), or all where none does. With `frames` they are those
    of each time, of streams that have times; the others say the same at all times.
    """

    def __init__(
        self, widths: Mapping[str, int], grids: Mapping[str, TokenGrid], width: int, dropout: float, look: Look
    ) -> None:
        """`width` of the vector.

        Raises:
            SettingsError: the streams can't share the width.
        """
        super().__init__()
        if width % len(widths):
            raise SettingsError(
                f"task.widths: expected a last one that {len(widths)} streams can share evenly, found {width}"
            )
        self.look, self._grids = look, grids
        self.streams = nn.ModuleDict({name: nn.Linear(own, width // len(widths)) for name, own in widths.items()})
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens [P, N, D] of each stream → [P, width, t], t = 1 or the times of the stream that has most."""
        pooled = [self._pool(tokens[name], name) for name in self.streams]
        times = max(one.shape[2] for one in pooled)
        return torch.cat([one if one.shape[2] == times else resampled(one, times) for one in pooled], 1)

    def _pool(self, tokens: Tensor, stream: str) -> Tensor:
        """[P, width of the stream, t]"""
        grid, layer = self._grids[stream], self.streams[stream]
        if self.look == "whole":
            tokens = (tokens[:, : grid.summaries] if grid.summaries else tokens)[:, None]
        else:
            tokens = by_time(tokens, grid)
        return self.dropout(layer(tokens).relu()).mean(2).transpose(1, 2)  # type: ignore[no-any-return]  # a module's call


def _convolutions(before: int, after: int, norm: Norm) -> nn.Module:
    layer = norm_layer(norm)
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        layer(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        layer(after),
        nn.ReLU(),
    )
