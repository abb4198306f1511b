"""Settings of the objectives."""

from typing import Literal

from pydantic import Field

from pipeline.settings.base import Settings


class MmaSettings(Settings):
    """How pairs are drawn."""

    kind: Literal["mma"] = "mma"
    group: int = Field(default=8, ge=2)
    """A mismatched frame comes from the same group of this many consecutive positions, so that the pairing is the same
    on any number of ranks; it must divide the micro-batch."""
    pairs: Literal["one", "both"] = "one"
    """`one`: each sound with its own frame or another's, by a fair coin (the paper, Eq. 3). `both`: each sound with its
    own and with another's, which costs only the encoder again and learns from half the samples."""
    negatives: Literal["any", "unlike"] = "any"
    """`any`: the other frame is any of the group (the paper). `unlike`: never one that is known to show everything that
    sounds (`visible`, else `labels`, of the sample); what comes of it is then label-aided."""

    @property
    def label_aided(self) -> str | None:
        """What must stand beside every figure of a model that was trained so; None where no label was looked at."""
        if self.negatives == "any":
            return None
        return f"label-aided: class names chose the mismatched pairs of training (task.negatives={self.negatives})"
