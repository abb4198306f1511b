"""Settings of `gavt evaluate` and of the maps that `gavt localize` draws."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.evaluate.registry import Measure, MeasureSettings, ReadoutName
from pipeline.features.settings import Geometry
from pipeline.settings.base import Settings

Direction = Literal["audio_to_visual", "visual_to_audio", "class_to_visual", "visual_to_class", "both"]
Perspective = Literal["visual", "audio", "class"]
Normalisation = Literal["none", "silence", "noise"]
Placement = Literal["even", "centres"]
"""Where the values of a map over tokens lie in the frame."""
PublishedOn = Literal["ave", "music-separation", "music21-retrieval", "audioset-synchronisation", "ucf101", "hmdb51"]
"""Data sets that an evaluation can't tell from others, on which others published figures."""
SaliencyName = Literal["spectral_residual", "frequency_tuned", "centre_surround"]


_DIRECTIONS: dict[Perspective, tuple[Direction, ...]] = {
    "visual": ("audio_to_visual", "visual_to_audio", "both"),
    "audio": ("audio_to_visual", "visual_to_audio", "both"),
    "class": ("class_to_visual", "visual_to_class", "both"),
}
"""What can be seen from where, the default first."""


class AttentionSettings(Settings):
    """Which attention becomes the paper's map (G-AVT thesis, sections 3.3, 3.4 and 5.2)."""

    heads: Literal["mean"] | Annotated[int, Field(ge=0)] = "mean"
    """`mean`, or one head counted from 0. Single heads look much more random than their mean."""
    layer: Literal["mean", "rollout"] | Annotated[int, Field(ge=1)] | None = None
    """Layer counted from 1, `mean` over all, or `rollout`: all in a row, as what looks at tokens that looked at others
    before looks at those too (Abnar and Zuidema 2020, with half of each layer for its residual connection). By default
    the one before the last: with a head on the class token the last layer's attention between the modalities gets no
    gradient. A model of one layer has only that."""
    direction: Direction | None = None
    """`audio_to_visual`: what audio tokens look at, the default; `visual_to_audio`: how much each visual token looks at
    audio tokens; `both`: their mean. From the perspective `class` these are `class_to_visual`, the default there,
    `visual_to_class`, and `both`."""
    perspective: Perspective = "visual"
    """`visual`: a map over the frame of what passes between visual and audio tokens. `class`: a map over the frame of
    what passes between visual tokens and the class token. `audio`: a map over the spectrogram, for looking at; it can't
    point at a box, so its rows have no figures."""
    normalisation: Normalisation = "none"
    """What the readout `attention` is divided by (Eq. 7): nothing, the attention with silence, or with noise as loud as
    the sound. The readouts `attention_silence` and `attention_noise` are the same map with that prior."""
    epsilon: float = Field(default=1e-4, gt=0)
    """Added to both sides of Eq. 7 before the logarithm of their ratio; small beside 1/tokens."""

    @model_validator(mode="after")
    def _fits_together(self) -> "AttentionSettings":
        fitting = _DIRECTIONS[self.perspective]
        if self.chosen_direction not in fitting:
            expected = " or ".join((", ".join(fitting[:-1]), fitting[-1]))
            raise ValueError(f"a direction of {expected} for perspective = {self.perspective}, found {self.direction}")
        if self.layer == "rollout" and self.heads != "mean":
            raise ValueError(
                f"heads = mean for layer = rollout, which mixes the heads of each layer, found {self.heads}"
            )
        return self

    @property
    def chosen_direction(self) -> Direction:
        """That of the settings, or the perspective's default."""
        return self.direction or _DIRECTIONS[self.perspective][0]


class IntegratedGradientsSettings(Settings):
    """How exactly the readout `integrated_gradients` integrates."""

    residue: float = Field(default=0.05, gt=0)
    """Steps are doubled until the attributions of a sample add up to the difference between its logit and that of the
    blurred frame, to within this share of the difference."""
    most_steps: int = Field(default=128, ge=8)
    """Not more steps than this, each a pass forward and back; what does not add up by then is counted and told."""


class EvaluateSettings(Settings):
    """What is read out of a trained model, and how it is judged."""

    measures: tuple[Measure, ...] | None = Field(default=None, min_length=1)
    """What the model is judged by: by all that can be had of the model and its data, unless some are named. A named one
    that can't be had is left out, and it is said why."""
    published: tuple[PublishedOn, ...] = ()
    """Data sets whose published figures of others stand beside the model's: `ave`, `music-separation`,
    `music21-retrieval`, `audioset-synchronisation`, `ucf101`, `hmdb51`. Where no such table is made, that is said.
    Benchmarks of localisation always have theirs."""
    readouts: tuple[ReadoutName, ...] = Field(
        default=(
            "attention",
            "attention_silence",
            "attention_noise",
            "class_token",
            "class_maps",
            "token_maps",
            "token_gradient",
            "gradient_weighted",
            "integrated_gradients",
            "region_occlusion",
            "similarity",
            "separation_energy",
        ),
        min_length=1,
    )
    """Ways to make a map, a row each; the best on the validation split becomes the row `model`. `region_occlusion` and
    `occlusion` (single tokens) run the encoder once for each visual token; `integrated_gradients` runs the model 9 to
    `integrated_gradients.most_steps` + 1 times, the others once or twice."""
    saliency: tuple[SaliencyName, ...] = Field(
        default=("spectral_residual", "frequency_tuned", "centre_surround"), min_length=1
    )
    """Ways to tell what stands out of the frame without hearing anything; the best on the validation split becomes the
    row `image saliency`."""
    attention: AttentionSettings = AttentionSettings()
    integrated_gradients: IntegratedGradientsSettings = IntegratedGradientsSettings()
    geometry: Geometry | None = None
    """How frames become the model's square: `squash` (the whole frame, its sides scaled apart), `letterbox` (the whole
    frame between black bars, which are not judged) or `centre` (the centre square; boxes are cut to it). Unless given,
    frames with boxes are squashed, as the public evaluators of VGG-SS and Flickr-SoundNet do, and all others are cut as
    in training: those of multi-modal alignment, of data without boxes, and of `gavt localize`."""
    align_corners: bool = False
    """How maps are resized to `map_size`. Off, as the code of VGG-SS (LVS) does; EZ-VSL and what builds on it have it
    on, which moves cIoU_adap of 7×7 maps by some points."""
    placement: Literal["measured"] | Placement = "measured"
    """Where the values of a map over visual tokens lie in the frame: in the middle of `even` cells that fill it; or at
    the tokens' `centres`, which the embedder's geometry says (ResNets have them half a cell up and left of the even
    ones). Which of them is right hangs on the model and the readout: `measured` takes for each readout what agrees
    better with the boxes of the validation split (mean IoU where as much area is predicted as the truth has), and even
    cells where there are none. It is of no account where tokens lie evenly, or maps are over pixels."""
    batch_size: int = Field(default=32, gt=0)
    """Samples that go through the model at once; they are read in chunks of about 64, and not more than that."""
    workers: int | None = Field(default=None, ge=0)
    """Processes of each rank that read and decode; as many as `data.workers` unless given."""
    map_size: int = Field(default=224, ge=16)
    """Height and width in pixels at which maps are judged; published figures use 224."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs: on a GPU where there is one (`auto`), or as said. `cpu` leaves the GPU to a training beside
    it."""
    examples: int = Field(default=60, ge=0)
    """Samples whose frames, maps and sounds are kept for the report's gallery: about 60 kB of its page each."""
    max_samples: int | None = Field(default=None, gt=0)
    """Evaluate at most so many samples of each split; all by default."""
    seed: int = Field(default=0, ge=0)
    """Draws the noise of Eq. 7, the pairs of multi-modal alignment and the weights of the untrained network."""

    def only(self, kind: type[MeasureSettings]) -> "EvaluateSettings":
        """The same, with one kind of measure; as these settings have it, where they do."""
        given = [one for one in self.measures or () if isinstance(one, kind)]
        return self.model_copy(update={"measures": tuple(given or [kind.model_validate({})])})

    @property
    def judged_geometry(self) -> Geometry:
        """Of frames with boxes."""
        return self.geometry or "squash"

    @property
    def shown_geometry(self) -> Geometry:
        """Of all other frames: as in training unless told otherwise."""
        return self.geometry or "centre"
