"""Two embedders side by side, without a transformer."""

from collections.abc import Mapping

from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Layers
from pipeline.models.contract import AUDIO, VISUAL, Encoded, TokenGrid, Tokens
from pipeline.models.frames_and_sound import FramesAndSound
from pipeline.models.towers_settings import TowersSettings


class Towers(FramesAndSound):
    """Visual and audio tokens, each embedded and projected to one width, that never see each other: what objectives
    compare that contrast tokens as they are embedded (SLAVC, DenseAV)."""

    def __init__(
        self, settings: TowersSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        """`shapes` of the inputs are those that `features` says."""
        super().__init__(settings, features)
        self.settings = settings

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie."""
        return self.embedded_grids

    @property
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""
        return dict.fromkeys((VISUAL, AUDIO), self.settings.width)

    def place(self, embedded: Tokens) -> Tokens:
        """The tokens as they are: their embedders know where they lie."""
        return embedded

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """The tokens as they are; there is no attention."""
        return Encoded(placed, None)
