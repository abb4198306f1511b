"""A system whose answers a test chooses: no weights, and streams that don't see each other."""

from collections.abc import Callable, Mapping

from torch import Tensor

from pipeline.models.attention import Layers
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, Encoded, Inputs, TokenGrid, Tokens
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.task import System, Targets, Task


class StubModel(AudioVisualModel):
    """Its visual tokens are what a function makes of the frames, its audio tokens are the sound as it is."""

    def __init__(self, of_frames: Callable[[Tensor], Tensor] = lambda frames: frames) -> None:
        super().__init__()
        self.of_frames = of_frames

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        return {}

    @property
    def widths(self) -> Mapping[str, int]:
        return {}

    def embed(self, inputs: Inputs) -> Tokens:
        tokens = {}
        if "frames" in inputs:
            tokens[VISUAL] = self.of_frames(inputs["frames"])
        if "sound" in inputs:
            tokens[AUDIO] = inputs["sound"]
        return tokens

    def place(self, embedded: Tokens) -> Tokens:
        return embedded

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        return Encoded(placed, None)


class StubTask(Task):
    """Its score is what a function makes of the tokens; there is nothing to train."""

    scores = True

    def __init__(self, of_tokens: Callable[[Tokens], Tensor]) -> None:
        super().__init__()
        self.of_tokens = of_tokens

    def targets(self, seed: int, positions: object, metadata: Metadata, purpose: Purpose) -> Targets:
        return {}

    def forward(self, *words: object) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def score(self, encoded: Encoded) -> Tensor:
        return self.of_tokens(encoded.tokens)


def answering(
    of_tokens: Callable[[Tokens], Tensor], of_frames: Callable[[Tensor], Tensor] = lambda frames: frames
) -> System:
    """A system whose score is a function of its tokens."""
    return System(StubModel(of_frames), StubTask(of_tokens), ("frames", "sound")).eval()
