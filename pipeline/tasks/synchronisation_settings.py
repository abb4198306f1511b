"""Settings of synchronisation, and what is measured of it."""

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings
from pipeline.tasks.contract import Metric, TaskSettings, Totals

if TYPE_CHECKING:
    from pipeline.stream.fields.sound import SoundField

MODALITIES = ("visual", "audio")


class SynchronisationSettings(TaskSettings):
    """How far a clip's sound is moved against its frames, and which segment of which clip's sound belongs to a segment
    of frames. It is learnt of clips that hold `range_s` + `jitter_s` more on each side than the model takes."""

    kind: Literal["synchronisation"] = "synchronisation"
    group: int = Field(default=8, ge=1)
    """Segments are contrasted with those of so many consecutive positions, so that the loss is the same on any number
    of ranks; it must divide the micro-batch."""
    range_s: float = Field(default=2.0, gt=0)
    """The sound is moved by up to so many seconds either way."""
    classes: int = Field(default=21, ge=3)
    """Answers, an odd number: so many offsets lie evenly from −range_s to range_s, and the middle one is in sync."""
    jitter_s: float = Field(default=0.05, ge=0)
    """The sound lies up to this beside the offset of its class, so that offsets in between are answered too."""
    answer: Literal["offset", "in_sync"] = "offset"
    """`offset`: the class of the offset is told (Synchformer). `in_sync`: only whether there is one, which every other
    sample has (papers 002 and 003); how sure it is is how likely the middle class is beside the mean of the others."""
    least_s: float | None = Field(default=None, gt=0)
    """With `answer: in_sync`, how far a sound that is moved is moved at least (paper 003: 2.0, with range_s: 5.8); one
    step from class to class unless given."""
    both: bool = False
    """With `answer: in_sync`, show each clip in sync and with its sound moved, as papers 003 and Owens and Efros (2018)
    do, instead of one of the two."""
    head: Literal["class", "lags"] = "class"
    """What tells the offset. `class`: a linear layer on the class token, after frames and sound have met. `lags`: the
    features that are contrasted, of each moment of frames with each of sound; a class is as likely as those are alike
    that lie by its offset apart. It needs no class token and fewer samples."""
    places: Literal["mean", "best"] = "mean"
    """Of `head: lags`, what is seen at a moment: the mean of its places, or each for itself, of which the one that goes
    best with the sound decides. Where others move beside what is heard, the mean tells little."""
    offset_weight: float = Field(default=1.0, ge=0)
    """Of the offset's cross entropy in the loss; 0 leaves it out, with its head."""
    segments: int = Field(default=14, ge=2)
    """Equal segments of the frames' time that are contrasted; Synchformer's last 0.64 s."""
    segment_weight: float = Field(default=1.0, ge=0)
    """Of the contrast of segments (InfoNCE, both ways): with all other segments of the clip and of the group's; 0
    leaves it out."""
    clip_weight: float = Field(default=1.0, ge=0)
    """Of the contrast of whole clips of the group, each the mean of its segments; 0 leaves it out."""
    temperature: float = Field(default=0.07, gt=0)
    """Of both contrasts, and the first one of `head: lags`, which is learnt."""
    width: int = Field(default=128, gt=0)
    """Of the features that are contrasted."""
    context: int = Field(default=3, ge=1)
    """How many moments in a row each feature sees, an odd number: what moves is not seen in a single frame."""

    @model_validator(mode="after")
    def _adds_up(self) -> "SynchronisationSettings":
        for name in ("classes", "context"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"an odd number as {name}, found {getattr(self, name)}")
        if not self.offset_weight and not self.contrasts:
            raise ValueError("one of offset_weight, segment_weight and clip_weight above 0, found none")
        if self.clip_weight and self.group < 2:
            raise ValueError("a group of 2 or more for clip_weight, found 1")
        if self.answer == "offset" and (self.least_s is not None or self.both):
            raise ValueError(f"answer = in_sync for least_s and both, found offset with {self.least_s}, {self.both}")
        if self.places == "best" and self.head != "lags":
            raise ValueError(f"head = lags for places = best, found {self.head}")
        if self.least_s is not None and self.least_s > self.range_s:
            raise ValueError(f"least_s up to range_s = {self.range_s}, found {self.least_s}")
        return self

    @property
    def contrasts(self) -> bool:
        """Whether segments or clips are contrasted."""
        return bool(self.segment_weight or self.clip_weight)

    @property
    def margin_s(self) -> float:
        """How much more sound a sample carries than the model takes, on each side."""
        return self.range_s + self.jitter_s

    @property
    def step_s(self) -> float:
        """From class to class."""
        return 2 * self.range_s / (self.classes - 1)

    @property
    def offsets_s(self) -> tuple[float, ...]:
        """Of each class; the sound of a positive one is that of later."""
        middle = self.classes // 2
        return tuple((number - middle) * self.step_s for number in range(self.classes))

    @property
    def sums(self) -> tuple[str, ...]:
        """Over samples: the loss and their number; offsets told right, and to within a class; segments and clips that
        found their own sound or frames first, as shares of a sample's."""
        return ("loss", "samples", "right", "near", "segments", "clips")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the parts that there are."""
        found = [Metric("loss", "loss")]
        if self.offset_weight:
            by_offset = self.answer == "offset"
            found.append(Metric("accuracy", chance=1 / self.classes if by_offset else 0.5))
            found += [Metric("within_one", chance=3 / self.classes)] if by_offset else []
        if self.segment_weight:
            found.append(Metric("segments_found", chance=1 / (self.group * self.segments)))
        if self.clip_weight:
            found.append(Metric("clips_found", chance=1 / self.group))
        return tuple(found)

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over samples."""
        samples, named = totals["samples"], {"accuracy": "right", "within_one": "near"}
        named |= {"loss": "loss", "segments_found": "segments", "clips_found": "clips"}
        answered = bool(samples) and math.isfinite(totals["loss"])
        return {one.name: totals[named[one.name]] / samples if answered else None for one in self.metrics}

    def own_fields(self, features: FeatureSettings) -> "tuple[SoundField, ...]":
        """The sound of which the moved ones are cut."""
        from pipeline.stream.fields.sound import SoundField  # here, for it brings what decodes along

        return (SoundField.of(features, self.wide_sound, self.margin_s),) if self.offset_weight else ()

    @property
    def wide_sound(self) -> str:
        """The name of that input."""
        return f"sound and {self.margin_s:g} s around it"

    def reason_against(self, model: Any) -> str | None:
        """It needs frames and sound, and for some heads a class token."""
        token = ["class"] if self.head == "class" and self.offset_weight else []
        missing = next((name for name in (*MODALITIES, *token) if name not in model.streams), None)
        if missing is None:
            return None
        hint = "; task.head=lags needs none" if missing == "class" else ""
        return (
            f"a model with the stream {missing} for task.kind = synchronisation, found {', '.join(model.streams)}{hint}"
        )

    def reason_against_inputs(self, features: FeatureSettings) -> str | None:
        """It needs frames in time, during the sound, and some of them where the sound was moved to."""
        least = max(2, self.segments if self.contrasts else 0)
        if features.frames < least:
            return f"features.frames of {least} or more for task.kind = synchronisation, found {features.frames}"
        if features.frame_spacing == "neighbours":
            return "features.frame_spacing = even for task.kind = synchronisation, found neighbours, whose times vary"
        sound_s = features.audio_samples / features.audio_rate_hz
        span_s = FrameTimes(features.frames, features.frame_rate_hz, sound_s).span_s
        if span_s > sound_s * (1 + 0.5 / features.frames):
            return f"frames (features.frames / frame_rate_hz) within the sound's {sound_s:.2f} s, found {span_s:.2f} s"
        if self.answer == "offset" and self.range_s >= span_s:
            return f"task.range_s below the {span_s:.2f} s that the frames take, found {self.range_s}"
        return None
