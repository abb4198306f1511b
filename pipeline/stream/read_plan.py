"""What decides which samples a run reads and how they are decoded; it travels to the processes that do it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ShardSetError
from pipeline.features.settings import AugmentSettings, FeatureSettings
from pipeline.stream.cache_plan import CachePlan, plan_cache
from pipeline.stream.decode import DecodeSpec, canvas_size
from pipeline.stream.mixture import Mixture, Picks, Stretch, shares_of
from pipeline.stream.order import RUN, Numbers, Order
from pipeline.stream.settings import DataSettings, ShardSource
from pipeline.stream.shard_set import ShardSet


@dataclass(frozen=True)
class Pick:
    """The sample that belongs at a position.

    Attributes:
        set: number of the shard set.
        sample: its place in the set's own order.
        epoch, position: of that set.
    """

    set: int
    sample: int
    epoch: int
    position: int


class ReadPlan:
    """The samples of a run, by global position, and what they become.

    Attributes:
        sets, orders: of each shard set that is mixed.
        augment: how to draw augmentations; none for evaluation.
        cache: how the node keeps remote shards; None where it does not.
    """

    def __init__(
        self,
        sets: Sequence[ShardSet],
        mixture: Mixture,
        data: DataSettings,
        spec: DecodeSpec,
        augment: AugmentSettings | None,
        seed: int,
        cache: CachePlan | None = None,
    ) -> None:
        self.sets = list(sets)
        self.mixture = mixture
        self.data = data
        self.spec = spec
        self.augment = augment
        self.seed = seed
        alone = len(self.sets) == 1
        self.orders = [
            Order(one.samples_per_shard(), seed, data.block_samples, data.lanes, "" if alone else name)
            for one, name in zip(self.sets, mixture.names, strict=True)
        ]
        self.cache = cache
        for one, order in zip(self.sets, self.orders, strict=True):
            one.keep_places(2 * order.lanes * data.block_samples)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        words = (self.sets, self.mixture, self.data, self.spec, self.augment, self.seed, self.cache)
        return (ReadPlan, words)

    def __len__(self) -> int:
        """Samples of all sets together."""
        return sum(len(order) for order in self.orders)

    def lanes_of(self, positions: Numbers) -> npt.NDArray[np.float64]:
        """Where the lane of each global position [N] lies among the lanes of its set, 0–1."""
        where = self.mixture.picks(positions)
        found = np.empty(len(positions))
        for number, order in enumerate(self.orders):
            mine = where.sets == number
            found[mine] = (where.positions[mine] % len(order) // RUN % order.lanes + 0.5) / order.lanes
        return found

    def picks(self, positions: range | Numbers) -> list[Pick]:
        """The samples at global positions."""
        where: Picks = self.mixture.picks(positions)
        found: list[Pick | None] = [None] * len(positions)
        for number, order in enumerate(self.orders):
            mine = (where.sets == number).nonzero()[0]
            if not len(mine):
                continue
            epochs, places = where.positions[mine] // len(order), where.positions[mine] % len(order)
            for epoch in np.unique(epochs).tolist():
                now = epochs == epoch
                samples = order.samples_at(epoch, places[now])
                for at, place, sample in zip(mine[now].tolist(), places[now].tolist(), samples.tolist(), strict=True):
                    found[at] = Pick(number, sample, epoch, place)
        return [pick for pick in found if pick is not None]

    def stand_in(self, pick: Pick, attempt: int) -> Pick:
        """What is shown where a sample is bad: see `Order.stand_in`."""
        sample = self.orders[pick.set].stand_in(pick.epoch, pick.position, attempt)
        return Pick(pick.set, sample, pick.epoch, pick.position)

    def fingerprints(self) -> dict[str, str]:
        """Of each set's order, by the set's name."""
        return {name: order.fingerprint() for name, order in zip(self.mixture.names, self.orders, strict=True)}

    def contents(self) -> dict[str, str]:
        """By a set's name what changes with any byte of its shards, as far as that is known."""
        return {name: one.contents for name, one in zip(self.mixture.names, self.sets, strict=True) if one.contents}


def plan_reading(
    source: str | Sequence[ShardSource],
    features: FeatureSettings,
    data: DataSettings,
    seed: int,
    augment: bool,
    history: Sequence[Stretch] = (),
    position: int = 0,
    nodes: int = 1,
    moved: Callable[[], None] = lambda: None,
) -> ReadPlan:
    """Open the shard sets and say what is read from them.

    Args:
        source: a shard set, or several of different names.
        history, position: of a run that goes on: the weights so far, and where it goes on.
        nodes: that share the work.
        moved: called, from any thread, whenever what takes long has come further: the first index of others' tars.

    Raises:
        ShardSetError: one of them is missing, unfinished or empty.
    """
    sources = [ShardSource(url=source)] if isinstance(source, str) else list(source)
    names = [one.name or one.url for one in sources] if len(sources) > 1 else [""]
    sets = [ShardSet.open(one.url, moved) for one in sources]
    sizes = {name: len(one) for name, one in zip(names, sets, strict=True)}
    weights = {name: one.weight for name, one in zip(names, sources, strict=True)}
    shares = shares_of(sizes, weights, data.mix, data.temperature)
    mixture = Mixture.resume(shares, seed, history, position) if history else Mixture.start(shares, seed)
    drawn = features.augment if augment else None
    plan = ReadPlan(sets, mixture, data, decode_spec(features, augment), drawn, seed)
    plan.cache = plan_cache(sets, plan.orders, data, nodes)
    return plan


def decode_spec(features: FeatureSettings, augment: bool) -> DecodeSpec:
    """What a sample becomes: with room for the crops where it is augmented."""
    size = canvas_size(features.frame_size, features.augment.resize_minimum) if augment else features.frame_size
    return DecodeSpec(
        frames=features.frames,
        frame_size=size,
        frame_rate_hz=features.frame_rate_hz,
        audio_rate_hz=features.audio_rate_hz,
        audio_samples=features.audio_samples,
        channels=features.audio_channels,
    )


def order_error(name: str, before: str, now: str) -> ShardSetError:
    """A run goes on with data of another order."""
    where = f"shard set {name}" if name else "the shard set"
    return ShardSetError(
        f"{where} has another order than when the run was saved (shards, settings of the order or numpy's shuffling "
        f"changed: {before} is {now}), so samples would be shown twice or not at all; bring back the old one, or go "
        "on in the new order with data.allow_change=true"
    )
