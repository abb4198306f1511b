"""Readouts by name."""

from pipeline.evaluate.readouts.attention import AttentionReadout
from pipeline.evaluate.readouts.class_token import ClassTokenReadout
from pipeline.evaluate.readouts.gradient_weighted import GradientWeightedReadout
from pipeline.evaluate.readouts.integrated_gradients import IntegratedGradientsReadout
from pipeline.evaluate.readouts.occlusion import OcclusionReadout
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.readouts.token_gradient import TokenGradientReadout
from pipeline.evaluate.settings import EvaluateSettings, ReadoutName

DEFAULT_READOUT: ReadoutName = "integrated_gradients"
"""The readout where no validation split with boxes could choose one."""


def build_readout(name: ReadoutName, settings: EvaluateSettings) -> Readout:
    """The readout of that name."""
    attention = settings.attention
    match name:
        case "attention":
            return AttentionReadout(name, attention, attention.normalisation, settings.seed)
        case "attention_silence":
            return AttentionReadout(name, attention, "silence", settings.seed)
        case "attention_noise":
            return AttentionReadout(name, attention, "noise", settings.seed)
        case "class_token":
            return ClassTokenReadout()
        case "token_gradient":
            return TokenGradientReadout()
        case "gradient_weighted":
            return GradientWeightedReadout()
        case "integrated_gradients":
            return IntegratedGradientsReadout(settings.integrated_gradients)
        case "occlusion":
            return OcclusionReadout(name, radius=0)
        case "region_occlusion":
            return OcclusionReadout(name, radius=1)


def points_into_frame(name: ReadoutName, settings: EvaluateSettings) -> bool:
    """Whether its maps lie over the frame; those from the audio perspective lie over the spectrogram."""
    return settings.attention.perspective == "visual" or not name.startswith("attention")
