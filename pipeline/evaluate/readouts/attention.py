"""The paper's maps: attention between the tokens of the two modalities (G-AVT thesis, sections 3.3, 3.4, 5.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.evaluate.settings import AttentionSettings, Normalisation
from pipeline.models.layout import TokenLayout
from pipeline.tasks.mma import TaskModel


class AttentionReadout:
    """Attention averaged over the tokens of the other modality, as it is or over its prior (Eq. 7)."""

    def __init__(self, name: str, settings: AttentionSettings, normalisation: Normalisation, seed: int) -> None:
        self.name = name
        self.settings = settings
        self.normalisation = normalisation
        self.seed = seed

    @torch.no_grad()
    def __call__(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        """Maps [B, h, w], or [B, f, t] from the audio perspective; log-ratios where a prior divides them."""
        maps = self._maps(task_model, frames, waveform)
        if self.normalisation == "none":
            return maps
        prior_sound = torch.zeros_like(waveform) if self.normalisation == "silence" else noise_like(waveform, self.seed)
        return log_ratio(maps, self._maps(task_model, frames, prior_sound), self.settings.epsilon)

    def _maps(self, task_model: TaskModel, frames: Tensor, waveform: Tensor) -> Tensor:
        attention = task_model.model.encode(frames, waveform, return_attention=True).attention
        if attention is None:
            raise TypeError("expected a model that returns its attention when asked for it, found none")
        return attention_maps(attention, task_model.model.tokens, self.settings)


def attention_maps(attention: Sequence[Tensor], layout: TokenLayout, settings: AttentionSettings) -> Tensor:
    """Reduce attention, a list over layers of [B, heads, N, N] with queries as rows, to one map a sample.

    Returns:
        [B, h, w] from the visual perspective: for each visual token of the middle frame the mean over all audio tokens;
        [B, f, t] from the audio perspective: for each audio token the mean over all visual tokens.

    Raises:
        SettingsError: the model has no such layer or head.
    """
    chosen = _choose_layer(attention, settings)
    if settings.heads == "mean":
        weights = chosen.mean(1)
    elif 0 <= settings.heads < chosen.shape[1]:
        weights = chosen[:, settings.heads]
    else:
        raise SettingsError(
            f"evaluate.attention.heads: expected mean or 0 to {chosen.shape[1] - 1}, found {settings.heads}"
        )
    audio_to_visual = weights[:, layout.audio, layout.visual]
    visual_to_audio = weights[:, layout.visual, layout.audio].transpose(1, 2)
    between = {
        "audio_to_visual": audio_to_visual,
        "visual_to_audio": visual_to_audio,
        "both": (audio_to_visual + visual_to_audio) / 2,
    }[settings.direction]  # [B, audio tokens, visual tokens]
    if settings.perspective == "visual":
        return between.mean(1).reshape(-1, layout.frames, *layout.visual_grid)[:, layout.middle_frame]
    return between.mean(2).reshape(-1, *layout.audio_grid)


def log_ratio(evidence: Tensor, prior: Tensor, epsilon: float) -> Tensor:
    """Eq. 7 as `log((attn(V, A) + ε) / (attn(V, 0) + ε))`: the same order of places as the ratio, without its poles."""
    return torch.log((evidence + epsilon) / (prior + epsilon))


def noise_like(waveform: Tensor, seed: int) -> Tensor:
    """White noise, the same for every sample, as loud (root mean square) as each of the waveforms [B, C, S]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(waveform.shape[1:], generator=generator).to(waveform)
    return noise * waveform.square().mean(dim=(1, 2), keepdim=True).sqrt()


def _choose_layer(attention: Sequence[Tensor], settings: AttentionSettings) -> Tensor:
    layers = len(attention)
    if settings.layer == "mean":
        return torch.stack(list(attention)).mean(0)
    layer = max(layers - 1, 1) if settings.layer is None else settings.layer
    if not 1 <= layer <= layers:
        raise SettingsError(f"evaluate.attention.layer: expected mean or 1 to {layers}, found {settings.layer}")
    return attention[layer - 1]
