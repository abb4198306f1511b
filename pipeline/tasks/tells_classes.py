"""Objectives by which a model tells classes: which are heard, and how much what is seen speaks for each."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.models.contract import Encoded


class TellsClasses(nn.Module):
    """What readouts ask of such an objective, beside what all have in common.

    Attributes:
        maps_weight: of the loss that gives the model's class maps their names; 0 leaves them without.
    """

    maps_weight: float

    @property
    @abstractmethod
    def classes_told(self) -> Sequence[str]:
        """Names of the classes C, of which class maps have theirs too."""

    @abstractmethod
    def heard(self, encoded: Encoded) -> Tensor:
        """[B, C] in 0–1, how likely each class is to be heard."""

    @abstractmethod
    def seen(self, encoded: Encoded) -> Tensor:
        """[B, C], higher the more what is seen speaks for a class; gradients of it can be asked for."""
