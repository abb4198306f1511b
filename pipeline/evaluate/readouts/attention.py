"""The paper's maps: attention between the tokens of the two modalities (G-AVT thesis, sections 3.3, 3.4, 5.2)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import SettingsError
from pipeline.evaluate.readouts.needs import needs_attention, needs_input, needs_joint_attention, needs_visual_grid
from pipeline.evaluate.readouts.readout import Readout, on_grid
from pipeline.evaluate.readouts.rollout import roll_back, roll_on
from pipeline.evaluate.settings import AttentionSettings, EvaluateSettings, Normalisation
from pipeline.features.inputs import SOUND
from pipeline.models.attention import Attention
from pipeline.models.contract import AUDIO, CLASS, VISUAL, AudioVisualModel, Inputs, TokenGrid
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
        for queries, keys in looked_between(self.settings):
            reason = reason or needs_attention(system, queries, keys)
        if reason is None and self.settings.layer == "rollout":
            reason = needs_joint_attention(system)
        if reason is None and self.normalisation != "none":
            reason = needs_input(system, SOUND)
        return reason

    @property
    def points_into_frame(self) -> bool:
        """Those from the audio perspective lie over the spectrogram."""
        return self.settings.perspective != "audio"

    @torch.no_grad()
    def __call__(self, system: System, inputs: Inputs) -> Tensor:
        """Maps [B, h, w], or [B, f, t] from the audio perspective; log-ratios where a prior divides them."""
        maps = self._maps(system.model, inputs)
        if self.normalisation == "none":
            return maps
        prior = self._maps(system.model, with_prior(inputs, self.normalisation, self.seed))
        return log_ratio(maps, prior, self.settings.epsilon)

    def _maps(self, model: AudioVisualModel, inputs: Inputs) -> Tensor:
        wanted = chosen_layers(self.settings, model.attention_layers)
        attention = model.fuse(model.embed(inputs), attention=wanted).attention
        if attention is None:
            raise TypeError("expected a model that returns its attention when asked for it, found none")
        return attention_maps(attention, model.grids, self.settings, model.attention_layers)


def attention_maps(
    attention: Attention, grids: Mapping[str, TokenGrid], settings: AttentionSettings, layers: int
) -> Tensor:
    """Reduce attention to one map a sample.

    Args:
        attention: of `chosen_layers` at least.
        grids: of the streams `visual` (frames, rows, columns) and `audio`.
        layers: of the model.

    Returns:
        [B, h, w] from the perspectives `visual` and `class`: for each visual token of the middle frame the mean over
        all audio tokens, or the class token's; [B, f, t] from the audio perspective: for each audio token the mean over
        all visual tokens.

    Raises:
        SettingsError: the model has no such layer or head.
    """
    over = AUDIO if settings.perspective == "audio" else VISUAL
    looks = [_reduced(attention, *pair, over, settings, layers) for pair in looked_between(settings)]
    return on_grid(grids[over], looks[0] if len(looks) == 1 else (looks[0] + looks[1]) / 2)


def chosen_layers(settings: AttentionSettings, layers: int) -> range:
    """The layers that the settings ask for of a model of so many, counted from 0.

    Raises:
        SettingsError: the model has no such layer.
    """
    if settings.layer in ("mean", "rollout"):
        return range(layers)
    layer = max(layers - 1, 1) if settings.layer is None else int(settings.layer)
    if layer > layers:
        raise SettingsError(
            f"evaluate.attention.layer: expected mean, rollout or 1 to {layers}, found {settings.layer}"
        )
    return range(layer - 1, layer)


def looked_between(settings: AttentionSettings) -> list[tuple[str, str]]:
    """(queries, keys) of the directions that are asked for."""
    other = CLASS if settings.perspective == "class" else AUDIO
    both = (other, VISUAL), (VISUAL, other)
    return [pair for pair in both if settings.chosen_direction in ("both", "_to_".join(pair))]


def _reduced(
    attention: Attention, queries: str, keys: str, over: str, settings: AttentionSettings, layers: int
) -> Tensor:
    """[B, N] over the tokens of one of the two streams: the mean over those of the other, of layers and heads."""
    if settings.layer == "rollout":
        return (roll_back if over == keys else roll_on)(attention, queries, keys)
    between = attention.between(queries, keys)
    if between is None:
        raise TypeError(f"expected a model in which {queries} tokens look at {keys} tokens, found none")
    found = []
    for layer in chosen_layers(settings, layers):
        weights, head = between[layer], None if settings.heads == "mean" else settings.heads
        if head is not None and head >= weights.shape[1]:
            raise SettingsError(f"evaluate.attention.heads: expected mean or 0 to {weights.shape[1] - 1}, found {head}")
        found.append(weights.to_keys(head=head) if over == keys else weights.to_queries(head=head))
    return torch.stack(found).mean(0)


def with_prior(inputs: Inputs, prior: Normalisation, seed: int) -> Inputs:
    """The inputs with the sound of Eq. 7's denominator: silence, or noise as loud as their own."""
    sound = inputs[SOUND]
    return inputs | {SOUND: torch.zeros_like(sound) if prior == "silence" else noise_like(sound, seed)}


def log_ratio(evidence: Tensor, prior: Tensor, epsilon: float) -> Tensor:
    """Eq. 7 as `log((attn(V, A) + ε) / (attn(V, 0) + ε))`: the same order of places as the ratio, without its poles."""
    return torch.log((evidence + epsilon) / (prior + epsilon))


def noise_like(waveform: Tensor, seed: int) -> Tensor:
    """White noise, the same for every sample, as loud (root mean square) as each of the waveforms [B, C, S]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(waveform.shape[1:], generator=generator).to(waveform)
    return noise * waveform.square().mean(dim=(1, 2), keepdim=True).sqrt()
