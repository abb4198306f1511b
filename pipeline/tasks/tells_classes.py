"""Objectives by which a model tells classes: which are heard, and how much what is seen speaks for each."""

from torch import Tensor, nn

from pipeline.models.contract import Encoded


class TellsClasses(nn.Module):
    """What readouts ask of such an objective, beside what all have in common."""

    def heard(self, encoded: Encoded) -> Tensor:
        """[B, C] in 0–1, how likely each class is to be heard."""
        raise NotImplementedError

    def seen(self, encoded: Encoded) -> Tensor:
        """[B, C], higher the more what is seen speaks for a class; gradients of it can be asked for."""
        raise NotImplementedError
