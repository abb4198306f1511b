"""What every world is to the rest."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from pipeline.worlds.settings import SPLITS, Split, WorldSettings

Row = dict[str, Any]
"""One row of a manifest."""
Truth = dict[str, Any]
"""The ground truth of one video, as its JSON says it. `id` and `split` are in all of them; `group` is where one scene
gives several videos, None or left out where it gives one."""
Own = TypeVar("Own", bound=WorldSettings)
"""Settings of a kind of world."""


@dataclass(frozen=True)
class RenderedVideo:
    """A video and all that is known of it.

    Attributes:
        mp4: H.264 and AAC.
        truth: its JSON.
        beside: other files of its ground truth, by name.
    """

    mp4: bytes
    truth: Truth
    beside: Mapping[str, bytes] = field(default_factory=dict)


class World(ABC, Generic[Own]):
    """A kind of world. A scene gives one video or several that belong together; it is a pure function of seed, split
    and number, whatever else is rendered and by whom.

    Args:
        settings: of its kind.
        seed: everything random follows from it.
    """

    def __init__(self, settings: Own, seed: int) -> None:
        self.settings, self.seed = settings, seed

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What `world.json` says beside the settings; a world goes on only where it says the same."""

    @property
    def manifests(self) -> tuple[str, ...]:
        """Names of its manifests."""
        return SPLITS

    def manifest_of(self, truth: Truth) -> str:
        """The manifest in which a video stands."""
        return str(truth["split"])

    def variants(self, split: Split) -> int:
        """Videos of each scene of a split."""
        return 1

    def video_ids(self, split: Split, number: int) -> list[str]:
        """Ids of a scene's videos: its own, or with a letter where there are several."""
        scene, variants = scene_id(split, number), self.variants(split)
        return [scene] if variants == 1 else [f"{scene}{letter}" for letter in "abcdefgh"[:variants]]

    def group(self, split: Split, number: int) -> str | None:
        """What a scene's videos have in common, where there are several."""
        return scene_id(split, number) if self.variants(split) > 1 else None

    @abstractmethod
    def render(self, split: Split, number: int) -> Iterator[RenderedVideo]:
        """The videos of a scene, in the order of their ids."""

    @abstractmethod
    def row_of(self, truth: Truth) -> Row:
        """A video's row in the manifest, made from its ground truth; where its files lie and its group are added."""


def scene_id(split: Split, number: int) -> str:
    """Id of a scene."""
    return f"{split}_{number:06d}"


def scene_generator(seed: int, split: Split, number: int) -> np.random.Generator:
    """What a scene draws from."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, SPLITS.index(split), number])))


def draw_count(random: np.random.Generator, weights: Mapping[int, float]) -> int:
    """A number, as often as its weight says."""
    counts = sorted(weights)
    shares = np.array([weights[count] for count in counts], float)
    return int(random.choice(counts, p=shares / shares.sum()))
