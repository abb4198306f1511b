"""The paper's maps: attention between the tokens of the two modalities (G-AVT thesis, sections 3.3, 3.4, 5.2)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.evaluate.readouts.needs import needs_attention, needs_input, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings, Normalisation
from pipeline.features.inputs import SOUND
from pipeline.models.contract import AUDIO, VISUAL, Attention, Inputs, TokenGrid
from pipeline.tasks.task import System

_PRIORS: dict[str, Normalisation] = {"attention_silence": "silence", "attention_noise": "noise"}
"""What divides the map of readouts that say so in their name."""


class AttentionReadout(Readout):
    """Attention averaged over the tokens of the other modality, as it is or over its prior (Eq. 7)."""

    def __init__(self, name: str, settings: AttentionSettings, normalisation: Normalisation, seed: int) -> None:
        self.name = name
        self.settings = settings
        self.normalisation = normalisation
        self.cost = "1 forward" if normalisation == "none" else "2 forward"
        self.seed = seed

    @classmethod
    def of(cls, name: str, settings: EvaluateSettings) -> Readout:
        attention = settings.attention
        return cls(name, attention, _PRIORS.get(name, attention.normalisation), settings.seed)

    def reason_against(self, system: System) -> str | None:
        reason = needs_visual_grid(system)
        if reason is None and self.settings.direction != "visual_to_audio":
            reason = needs_attention(system, AUDIO, VISUAL)
        if reason is None and self.settings.direction != "audio_to_visual":
            reason = needs_attention(system, VISUAL, AUDIO)
        if reason is None and self.normalisation != "none":
            reason = needs_input(system, SOUND)
        return reason

    @property
    def points_into_frame(self) -> bool:
        """Those from the audio perspective lie over the spectrogram."""
        return self.settings.perspective == "visual"

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], or [B, f, t] from the audio perspective; log-ratios where a prior divides them."""
        maps = self._maps(system, inputs)
        if self.normalisation == "none":
            return maps
        sound = inputs["sound"]
        prior = torch.zeros_like(sound) if self.normalisation == "silence" else noise_like(sound, self.seed)
        return log_ratio(maps, self._maps(system, inputs | {"sound": prior}), self.settings.epsilon)

    def _maps(self, system: System, inputs: Inputs) -> Tensor:
        model = system.model
        attention = model.fuse(model.embed(inputs), attention=True).attention
        if attention is None:
            raise TypeError("expected a model that returns its attention when asked for it, found none")
        return attention_maps(attention, model.grids, self.settings)


def attention_maps(attention: Attention, grids: Mapping[str, TokenGrid], settings: AttentionSettings) -> Tensor:
    """Reduce the attention between what is seen and heard to one map a sample.

    Args:
        grids: of the streams `visual` (frames, rows, columns) and `audio`.

    Returns:
        [B, h, w] from the visual perspective: for each visual token of the middle frame the mean over all audio tokens;
        [B, f, t] from the audio perspective: for each audio token the mean over all visual tokens.

    Raises:
        SettingsError: the model has no such layer or head.
    """
    looks = []  # [B, audio tokens, visual tokens]
    if settings.direction != "visual_to_audio":
        looks.append(_weights(attention, AUDIO, VISUAL, settings))
    if settings.direction != "audio_to_visual":
        looks.append(_weights(attention, VISUAL, AUDIO, settings).transpose(1, 2))
    between = looks[0] if len(looks) == 1 else (looks[0] + looks[1]) / 2
    if settings.perspective == "visual":
        shape = grids[VISUAL].shape
        return between.mean(1).reshape(-1, *shape)[:, shape[0] // 2]
    return between.mean(2).reshape(-1, *grids[AUDIO].shape)


def _weights(attention: Attention, queries: str, keys: str, settings: AttentionSettings) -> Tensor:
    """[B, Nq, Nk] of the layer and heads that are asked for."""
    layers = attention.between(queries, keys)
    if layers is None:
        raise TypeError(f"expected a model in which {queries} tokens look at {keys} tokens, found none")
    chosen = _choose_layer(layers, settings)
    if settings.heads == "mean":
        return chosen.mean(1)
    if settings.heads < chosen.shape[1]:
        return chosen[:, settings.heads]
    raise SettingsError(
        f"evaluate.attention.heads: expected mean or 0 to {chosen.shape[1] - 1}, found {settings.heads}"
    )


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
    if layer > layers:
        raise SettingsError(f"evaluate.attention.layer: expected mean or 1 to {layers}, found {settings.layer}")
    return attention[layer - 1]
