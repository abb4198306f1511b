"""All measures and readouts, by name. They are known here, below what they name, because settings are read without what
judges a model."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from pipeline.errors import SettingsError
from pipeline.settings.base import Settings
from pipeline.settings.registry import Kind, KindOf, Registry


class MeasureSettings(Settings):
    """Settings of a measure. A subclass names its `kind`."""

    kind: str
    asked_for_only: ClassVar[bool] = False
    """Left out where nobody names measures."""


class AlignmentSettings(MeasureSettings):
    """Whether the model tells frames that belong to a sound from others."""

    kind: Literal["alignment"] = "alignment"


class LocalisationSettings(MeasureSettings):
    """Whether the model points at what sounds. How maps are made and judged is said by the other settings of
    `evaluate`, which `gavt localize` reads too."""

    kind: Literal["localisation"] = "localisation"


class BenchmarkSettings(MeasureSettings):
    """What the model's maps score on a public benchmark, by its own figures: as `gavt score` judges maps of others.
    Frames and sounds are found by the list's ids in the set that is evaluated."""

    kind: Literal["benchmark"] = "benchmark"
    name: str
    """vggss, flickr, is3, extended-vggss, extended-flickr, music-solo, music-duet, vggsound-duet, …"""
    list: str
    """Its list, or the folder of its annotations; local or s3://."""
    pairs: str | None = None
    """Of an extended set, its list of video,audio,label."""
    truths: str | None = None
    """Of a list that only names samples, `vggss.json`, a folder of masks `ID.png`, or an `.npz` of them."""
    only: str | None = None
    """A list whose first cells are the ids to judge, such as vggss_heard_test.csv."""
    controls: bool = True
    """Also an untrained network and sounds of other samples, each of which takes as many passes as the model's row."""


class LabelsSettings(MeasureSettings):
    """Whether a classification head tells the labels of samples, or of their segments."""

    kind: Literal["classification"] = "classification"


class ActionsSettings(MeasureSettings):
    """What a clip is of, by a classification head whose answers to many parts of it are averaged."""

    kind: Literal["actions"] = "actions"
    asked_for_only = True
    clips: int = Field(default=25, ge=2)
    """Parts of each clip, as long as the model's inputs and evenly spaced from its beginning to its end."""


class EventsSettings(MeasureSettings):
    """Whether a head of segments tells which event happens when, and when none does."""

    kind: Literal["events"] = "events"


class SeenAndHeardSettings(MeasureSettings):
    """Whether heads of segments tell what is seen and what is heard in each, apart."""

    kind: Literal["seen_and_heard"] = "seen_and_heard"


class SegmentMapsSettings(MeasureSettings):
    """Where each segment's sound looks in its frame, beside the boxes of what sounds there; of stored features too."""

    kind: Literal["segment_maps"] = "segment_maps"


class ReconstructionSettings(MeasureSettings):
    """How well what masked modelling hides is rebuilt."""

    kind: Literal["reconstruction"] = "reconstruction"


class OffScreenSettings(MeasureSettings):
    """Whether the model knows that nothing visible sounds: silence, noise, sounds from off-screen."""

    kind: Literal["off_screen"] = "off_screen"


class OffsetsSettings(MeasureSettings):
    """Whether a model of synchronisation tells by how much a clip's sound is moved, and finds a segment's own sound."""

    kind: Literal["synchronisation"] = "synchronisation"
    among: int = Field(default=8, ge=2)
    """Clips among whose segments a segment's own is looked for; they are also each other's wrong sounds."""


class RobustnessSettings(MeasureSettings):
    """Whether maps follow the sound: beside a silent distractor in the frame, and with silence, noise or other sounds.
    It takes six times the passes of the readout of the row `model`, and as many of an untrained network."""

    kind: Literal["robustness"] = "robustness"
    asked_for_only = True


class SeparationSettings(MeasureSettings):
    """Whether the model takes apart mixtures of two sounds by what it sees."""

    kind: Literal["separation"] = "separation"


class EmbeddingsSettings(MeasureSettings):
    """Write the samples as vectors, as `evaluation_embeddings.npz` beside the evaluation."""

    kind: Literal["embeddings"] = "embeddings"
    asked_for_only = True


class RankingSettings(MeasureSettings):
    """How samples stand in a ranking of all."""

    pool: int | None = Field(default=None, ge=2)
    """What is looked for is among so many, as the mean over all such draws; among all samples unless given."""
    ways: int = Field(default=8, ge=2)
    """The choice is one of so many."""
    own_video: Literal["left_out", "wrong"] = "left_out"
    """What other samples of the own video, or with the own image, are to a sample: neither right nor wrong, or wrong.
    By label they are left out always, with the sample itself: it is asked for others of its class."""


class RetrievalSettings(RankingSettings):
    """Whether a sound finds its frame among all others, a frame its sound, and each stream of a model of more its own
    in each other."""

    kind: Literal["retrieval"] = "retrieval"
    asked_for_only = True
    all_tokens_up_to: int = Field(default=1000, ge=0)
    """Of a model that compares all tokens (dense contrastive learning) its own similarity is judged too, on sets of up
    to so many samples: of each the tokens lie in memory."""


class LearningSettings(MeasureSettings):
    """What a measure learns from."""

    train: str | None = None
    """Shard set to learn from, local or s3://; the run's `data.train` unless given."""
    train_samples: int = Field(default=20_000, gt=0)
    """At most about so many of it, in a shuffled order: their vectors lie in the memory of each process."""


class RetrievalHeadSettings(RankingSettings, LearningSettings):
    """Whether a small network that is trained on frozen embeddings finds what belongs to a sample among all others
    (TriBERT, section 4.2). For each variant and seed one is trained on each stage of the model's embeddings, on each of
    an untrained network's, and on shuffled pairs; N samples that are judged are N² pairs."""

    kind: Literal["retrieval_head"] = "retrieval_head"
    asked_for_only = True
    variants: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which streams look for which, as `audio_to_visual` or `visual+audio_to_pose`; unless given all pairs, and of
    three streams each two that look for the third."""
    seeds: int = Field(default=3, gt=0)
    """Networks that are trained for each row, whose figures are means."""
    distractors: int = Field(default=2, gt=0)
    """In training the own one is told from so many others; from one more where two streams look (the paper)."""
    near: int | None = Field(default=None, gt=0)
    """Distractors are drawn from so many that are most like the own one, instead of all: the public code takes 24, for
    all of one stream and for one of two."""
    width: int | None = Field(default=None, ge=8)
    """That streams are brought to; the widest stream's unless given."""
    steps: int = Field(default=1000, gt=0)
    """Of training. On the validation split it is found out ten times how good the network is, and the best is kept."""
    batch_size: int = Field(default=64, gt=0)
    """Samples a step of that training."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's. The paper's 2e-5, 750 times through the data, is for layers of 8192."""


class ProbeSettings(LearningSettings):
    """What labels can be told from a frozen model's embeddings, of each stream and of all together, by logistic
    regression and by nearest neighbours that learn from another set."""

    kind: Literal["probe"] = "probe"
    asked_for_only = True
    neighbours: int = Field(default=20, gt=0)
    """Nearest samples that vote."""
    decays: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0, 0.1, 0.01, 1e-3, 1e-4), min_length=1)
    """Weight decays of the logistic regression, of which the validation split chooses; where it has no labels, samples
    of a fifth of the videos that were to be learnt from do."""


_MEASURES, _READOUTS = "pipeline.evaluate.measures", "pipeline.evaluate.readouts"

MEASURES: Registry[MeasureSettings] = Registry(
    "measure",
    {
        "actions": Kind(f"{__name__}:ActionsSettings", f"{_MEASURES}.actions:Actions"),
        "alignment": Kind(f"{__name__}:AlignmentSettings", f"{_MEASURES}.alignment:Alignment"),
        "attention_sweep": Kind(f"{__name__}:AttentionSweepSettings", f"{_MEASURES}.attention_sweep:AttentionSweep"),
        "benchmark": Kind(f"{__name__}:BenchmarkSettings", "pipeline.evaluate.benchmarks.checkpoint:BenchmarkMeasure"),
        "classification": Kind(f"{__name__}:LabelsSettings", f"{_MEASURES}.classification:Labels"),
        "events": Kind(f"{__name__}:EventsSettings", f"{_MEASURES}.events:Events"),
        "embeddings": Kind(f"{__name__}:EmbeddingsSettings", f"{_MEASURES}.kept_embeddings:KeptEmbeddings"),
        "localisation": Kind(f"{__name__}:LocalisationSettings", f"{_MEASURES}.localisation:Localisation"),
        "off_screen": Kind(f"{__name__}:OffScreenSettings", f"{_MEASURES}.off_screen:OffScreenMeasure"),
        "probe": Kind(f"{__name__}:ProbeSettings", f"{_MEASURES}.probe:Probe"),
        "reconstruction": Kind(f"{__name__}:ReconstructionSettings", f"{_MEASURES}.reconstruction:Reconstruction"),
        "retrieval": Kind(f"{__name__}:RetrievalSettings", f"{_MEASURES}.retrieval:Retrieval"),
        "retrieval_head": Kind(f"{__name__}:RetrievalHeadSettings", f"{_MEASURES}.retrieval_head:RetrievalHead"),
        "robustness": Kind(f"{__name__}:RobustnessSettings", f"{_MEASURES}.robustness:Robustness"),
        "segment_maps": Kind(f"{__name__}:SegmentMapsSettings", f"{_MEASURES}.segment_maps:SegmentMaps"),
        "seen_and_heard": Kind(f"{__name__}:SeenAndHeardSettings", f"{_MEASURES}.seen_and_heard:SeenAndHeard"),
        "separation": Kind(f"{__name__}:SeparationSettings", f"{_MEASURES}.separation:Separation"),
        "synchronisation": Kind(f"{__name__}:OffsetsSettings", f"{_MEASURES}.synchronisation:Offsets"),
    },
    default="localisation",
)


def all_measures() -> list[MeasureSettings]:
    """One of each kind, where nothing about it must be said; none that must be asked for."""
    kinds = [kind for name in MEASURES.names() if (kind := MEASURES.settings_of(name)) is not None]
    free = (kind for kind in kinds if not kind.asked_for_only)
    plain = (kind for kind in free if not any(field.is_required() for field in kind.model_fields.values()))
    return [kind.model_validate({}) for kind in plain]


READOUTS: Registry[Settings] = Registry(
    "readout",
    {
        "attention": Kind(part=f"{_READOUTS}.attention:AttentionReadout"),
        "attention_silence": Kind(part=f"{_READOUTS}.attention:AttentionReadout"),
        "attention_noise": Kind(part=f"{_READOUTS}.attention:AttentionReadout"),
        "class_token": Kind(part=f"{_READOUTS}.class_token:ClassTokenReadout"),
        "class_activation": Kind(part=f"{_READOUTS}.class_activation:ClassActivationReadout"),
        "in_sync_places": Kind(part=f"{_READOUTS}.in_sync_places:InSyncPlacesReadout"),
        "token_maps": Kind(part=f"{_READOUTS}.token_maps:TokenMapsReadout"),
        "class_maps": Kind(part=f"{_READOUTS}.class_maps:ClassMapsReadout"),
        "token_gradient": Kind(part=f"{_READOUTS}.token_gradient:TokenGradientReadout"),
        "gradient_weighted": Kind(part=f"{_READOUTS}.gradient_weighted:GradientWeightedReadout"),
        "integrated_gradients": Kind(part=f"{_READOUTS}.integrated_gradients:IntegratedGradientsReadout"),
        "similarity": Kind(part=f"{_READOUTS}.similarity:SimilarityReadout"),
        "occlusion": Kind(part=f"{_READOUTS}.occlusion:OcclusionReadout"),
        "region_occlusion": Kind(part=f"{_READOUTS}.occlusion:OcclusionReadout"),
        "separation_energy": Kind(part=f"{_READOUTS}.separation_energy:SeparationEnergyReadout"),
    },
    default="",
)
DEFAULT_READOUT = "integrated_gradients"
"""The readout where no validation split with boxes could choose one."""


def _known(name: str) -> str:
    if name not in READOUTS:
        raise ValueError(f"one of {', '.join(READOUTS.names())}")
    return name


Measure = Annotated[MeasureSettings, KindOf(MEASURES)]
ReadoutName = Annotated[str, AfterValidator(_known)]


class AttentionSweepSettings(MeasureSettings):
    """How well each way to read attention localises, drawn beside each other: Figure 6 of the G-AVT thesis."""

    kind: Literal["attention_sweep"] = "attention_sweep"
    asked_for_only = True
    samples: int = Field(default=5, ge=1)
    """Samples whose maps are drawn, a column each: the first of the set with boxes."""
    beside: tuple[ReadoutName, ...] = (
        "gradient_weighted",
        "integrated_gradients",
        "similarity",
        "separation_energy",
    )
    """Other readouts in rows below, of those that the model has; why another is left out is said where it was named."""


def readout_name(text: str, place: str) -> ReadoutName:
    """A readout's name from the outside; `place` says in the error where it stood.

    Raises:
        SettingsError: there is no such readout.
    """
    try:
        return _known(text)
    except ValueError as error:
        raise SettingsError(f"{place}: expected {error}, found {text!r}") from None
