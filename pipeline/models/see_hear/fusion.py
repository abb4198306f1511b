"""How a segment's sound and frame meet (AVFB, section 3.2 of paper 002), and what Table 2 compares it with."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.see_hear.settings import SeeHearSettings

_ROOT_FLOOR = 1e-6
"""Below the root of Eq. 4, whose slope at 0 is infinite."""


class AudioVisualFusion(nn.Module):
    """Visual features of places and those of sounds → one visual vector a segment, of the places' width."""

    def __init__(self, settings: SeeHearSettings, visual: int, audio: int) -> None:
        super().__init__()
        self.kind = settings.fusion
        self.lift: nn.Module | None = None
        self.lstm: nn.LSTM | None = None
        self.join: nn.Linear | None = None
        self.bilinear: BilinearAttention | None = None
        if self.kind not in ("mfb", "none"):
            self.lift = nn.Sequential(nn.Linear(audio, visual), nn.ReLU(), nn.Linear(visual, visual), nn.ReLU())
        if "lstm" in self.kind:
            self.lstm = nn.LSTM(2 * visual, visual, batch_first=True)
        if self.kind == "concatenate":
            self.join = nn.Linear(2 * visual, visual)
        if "mfb" in self.kind:
            self.bilinear = BilinearAttention(visual, audio, settings.mfb_width, settings.mfb_factors)

    def forward(self, seen: Tensor, heard: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """[B, T, R, Dv] and [B, T, Da] → [B, T, Dv] and the weights [B, T, R] of places, if they are weighed. Without
        fusion there need be no sound."""
        if heard is None or self.kind == "none":
            return seen.mean(2), None
        found, weights = [], None
        if self.bilinear is not None:
            weights = self.bilinear(seen, heard)
            found.append(torch.einsum("btr,btrd->btd", weights, seen))  # Eq. 6
        if self.kind != "mfb":
            found.append(self._of_means(seen.mean(2), heard))
        return (found[0] if len(found) == 1 else found[0] + found[1]), weights  # Eq. 7

    def _of_means(self, seen: Tensor, heard: Tensor) -> Tensor:
        """Of the mean over places [B, T, Dv] and the sound [B, T, Da]."""
        assert self.lift is not None
        lifted: Tensor = self.lift(heard)
        if self.kind == "multiply":
            return seen * lifted
        if self.kind == "add":
            return seen + lifted
        if self.join is not None:
            return self.join(torch.cat([seen, lifted], -1))  # type: ignore[no-any-return]  # torch types a module's call as Any
        assert self.lstm is not None
        outputs: Tensor = self.lstm(torch.cat([seen + lifted, lifted], -1))[0]  # Eq. 1
        return outputs


class BilinearAttention(nn.Module):
    """How much each place of a frame counts beside its sound, by multi-modal factorised bilinear pooling (Yu et al.
    2017; Eq. 3–5)."""

    def __init__(self, visual: int, audio: int, width: int, factors: int) -> None:
        """`width` and `factors` are p and q."""
        super().__init__()
        self.factors = factors
        self.seen = nn.Linear(visual, width * factors, bias=False)
        self.heard = nn.Linear(audio, width * factors, bias=False)
        self.weigh = nn.Linear(width, 1)

    def forward(self, seen: Tensor, heard: Tensor) -> Tensor:
        """[B, T, R, Dv] and [B, T, Da] → weights [B, T, R], which add up to 1 over places."""
        product = self.seen(seen) * self.heard(heard)[:, :, None]
        pooled = product.unflatten(-1, (-1, self.factors)).sum(-1)
        rooted = pooled.sign() * (pooled.abs() + _ROOT_FLOOR).sqrt()
        weights: Tensor = self.weigh(F.normalize(rooted, dim=-1))[..., 0].softmax(-1)
        return weights
