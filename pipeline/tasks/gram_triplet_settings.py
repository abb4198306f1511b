"""Settings of the triplet loss of Gram matrices, and what is measured of it."""

import math
from typing import Any, Literal

from pydantic import Field

from pipeline.tasks.contract import Metric, TaskSettings, Totals

_NEEDED = ("visual_segments", "audio_segments")


class GramTripletSettings(TaskSettings):
    """How what is seen changes from segment to segment is more like the changes of its own sound than of another's
    (AVTGML, section 3.7 of paper 002): no label is looked at. Segments are those of models of segments."""

    kind: Literal["gram_triplet"] = "gram_triplet"
    group: int = Field(default=8, ge=2)
    """Consecutive positions among which the other sound is found; it must divide the micro-batch."""
    margin: float = Field(default=0.7, gt=0, le=1)
    """γ of Eq. 16. Similarities lie in 0–1, and as long as matrices aren't centred those of unrelated videos are near 1
    too, so that 0.7 is hardly ever reached."""
    centred: bool = False
    """Take the mean over segments away from what each is, before they are compared (as in centred kernel alignment):
    what all segments of a video have in common then counts for nothing."""
    seen_beside: Literal["own", "each"] = "own"
    """Which sound the frames are fused with, where they are compared with another's: their `own` (the paper), or `each`
    that they are compared with. With `own` the best answer is to let the sound through fusion, whatever is seen; with
    `each` that gains nothing. Takes another pass through the fusion."""

    @property
    def sums(self) -> tuple[str, ...]:
        """Over samples with another's sound: the loss and how many there are, similarities to the own sound and to the
        other, how often the own is the more similar one, and how many samples have no other."""
        return ("loss", "samples", "own", "other", "told", "unpaired")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All are means but the last."""
        return (
            Metric("loss", "loss", chance=self.margin),
            Metric("told"),
            Metric("own_similarity", "number"),
            Metric("other_similarity", "number"),
            Metric("unpaired_samples", "count"),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """`told` is the share of videos whose own sound is more similar than the other's."""
        samples = totals["samples"]
        answered = bool(samples) and math.isfinite(totals["loss"])
        names = {"loss": "loss", "told": "told", "own_similarity": "own", "other_similarity": "other"}
        return {
            **{name: totals[key] / samples if answered else None for name, key in names.items()},
            "unpaired_samples": totals["unpaired"],
        }

    def reason_against(self, model: Any) -> str | None:
        """It needs segments of both modalities."""
        missing = next((name for name in _NEEDED if name not in model.streams), None)
        if missing is None:
            return None
        return f"a model with the streams {' and '.join(_NEEDED)} for task.kind = {self.kind}, found none {missing}"
