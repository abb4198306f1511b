"""What decides which samples a run reads and how they are decoded; it travels to the processes that do it."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import SettingsError, ShardSetError
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import AugmentSettings, FeatureSettings
from pipeline.shards.members import Sample
from pipeline.shards.shard_set import SamplePlace, ShardSet
from pipeline.stream.cache_plan import CachePlan, plan_cache
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.fields.stored import StoredField
from pipeline.stream.mixture import Mixture, MixtureWeights, Picks, shares_of
from pipeline.stream.opened_sample import CENTRE
from pipeline.stream.order import RUN, Numbers, Order
from pipeline.stream.randomness import keyed_generator
from pipeline.stream.settings import DataSettings, ShardSource


@dataclass(frozen=True)
class Pick:
    """The sample that belongs at a position.

    Attributes:
        set: number of the shard set.
        sample: its place in the set's own order; that of its video among the videos, where an epoch shows one sample of
            each.
        epoch, position: of that set.
        share: 0–1, which of the video's samples it is; None where `sample` says it.
    """

    set: int
    sample: int
    epoch: int
    position: int
    share: float | None = None


class ReadPlan:
    """The samples of a run, by global position, and what they become.

    Attributes:
        sets, orders: of each shard set that is mixed.
        fields: what a sample is decoded into.
        augment: how to draw augmentations; none for evaluation.
        by_video: of each set, whether an epoch shows one sample of each video, drawn by seed, epoch and video, instead
            of all samples.
        cache: how the node keeps remote shards; None where it does not.
        digests: whether what is noted of each sample has a hash of its bytes.
        files: what is noted of each sample has all of its files.
        views: each sample is shown so many times, at positions behind each other: of layout `clip` at evenly spaced
            moments, the first at its beginning and the last at its end.
        leaves_gaps: nothing stands in for a bad sample: its arrays are zeros, and what is noted of it is what is wrong.
    """

    leaves_gaps = False

    def __init__(
        self,
        sets: Sequence[ShardSet],
        mixture: Mixture,
        data: DataSettings,
        fields: Sequence[FieldSpec],
        augment: AugmentSettings | None,
        seed: int,
        cache: CachePlan | None = None,
        by_video: Sequence[bool] | None = None,
        digests: bool = False,
        views: int = 1,
        files: bool = False,
    ) -> None:
        self.sets = list(sets)
        self.mixture = mixture
        self.data = data
        self.fields = tuple(fields)
        self.augment = augment
        self.seed = seed
        self.digests = digests
        self.views = views
        self.files = files
        self.by_video = [False] * len(self.sets) if by_video is None else list(by_video)
        alone = len(self.sets) == 1
        self.orders = [
            order_of(shown_per_shard(one, drawn), len(one), seed, data, "" if alone else name)
            for one, drawn, name in zip(self.sets, self.by_video, mixture.names, strict=True)
        ]
        self.cache = cache
        for one, order in zip(self.sets, self.orders, strict=True):
            one.keep_places(2 * order.lanes * data.block_samples)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        known = (self.sets, self.mixture, self.data, self.fields, self.augment, self.seed, self.cache, self.by_video)
        return (ReadPlan, (*known, self.digests, self.views, self.files))

    def __len__(self) -> int:
        """Samples that an epoch of each set shows, all together."""
        return sum(len(order) for order in self.orders)

    def lanes_of(self, positions: Numbers) -> npt.NDArray[np.float64]:
        """Where the lane of each global position [N] lies among the lanes of its set, 0–1."""
        where = self.mixture.picks(positions // self.views)
        found = np.empty(len(positions))
        for number, order in enumerate(self.orders):
            mine = where.sets == number
            found[mine] = (where.positions[mine] % len(order) // RUN % order.lanes + 0.5) / order.lanes
        return found

    def picks(self, positions: range | Numbers) -> list[Pick]:
        """The samples at global positions."""
        where: Picks = self.mixture.picks(np.asarray(positions) // self.views)
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
                    found[at] = self._pick(number, sample, epoch, place)
        return [pick for pick in found if pick is not None]

    def in_views(self, views: int) -> "ReadPlan":
        """The same, of which each sample is shown so many times."""
        shown = copy(self)
        shown.views = views
        return shown

    def moment(self, position: int) -> float:
        """Where a cut that nobody draws lies in what a clip has more than is asked for, 0–1."""
        return CENTRE if self.views == 1 else position % self.views / (self.views - 1)

    def stand_in(self, pick: Pick, attempt: int) -> Pick:
        """What is shown where a sample is bad: see `Order.stand_in`."""
        sample = self.orders[pick.set].stand_in(pick.epoch, pick.position, attempt)
        return self._pick(pick.set, sample, pick.epoch, pick.position)

    def files_of(self, sample: Sample) -> Mapping[str, bytes]:
        """Files of a sample that come with its arrays."""
        return sample.files if self.files else {}

    def _pick(self, number: int, sample: int, epoch: int, position: int) -> Pick:
        if not self.by_video[number]:
            return Pick(number, sample, epoch, position)
        generator = keyed_generator(self.seed, f"of-video{self.orders[number].name}", epoch, sample)
        return Pick(number, sample, epoch, position, float(generator.random()))

    def places(self, picks: Sequence[Pick]) -> list[SamplePlace | ShardSetError]:
        """Where samples lie; an error where a shard's index is damaged or gone.

        Raises:
            UnreachableError: the storage does not answer.
        """
        found: list[SamplePlace | ShardSetError | None] = [None] * len(picks)
        for number, one in enumerate(self.sets):
            mine = [at for at, pick in enumerate(picks) if pick.set == number]
            if not mine:
                continue
            samples = [picks[at].sample for at in mine]
            if self.by_video[number]:
                places = one.places_in_videos(samples, [picks[at].share or 0.0 for at in mine])
            else:
                places = one.places(samples)
            for at, place in zip(mine, places, strict=True):
                found[at] = place
        return [place for place in found if place is not None]

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
    history: Sequence[MixtureWeights] = (),
    position: int = 0,
    nodes: int = 1,
    on_progress: Callable[[], None] = lambda: None,
    fields: Sequence[str | FieldSpec] = (FRAMES, SOUND),
    digests: bool = False,
    files: bool = False,
) -> ReadPlan:
    """Open the shard sets and say what is read from them.

    Args:
        source: a shard set, or several of different names.
        augment: as in training; else samples are as they are, and an epoch shows all of them.
        history, position: of a run that goes on: the weights so far, and where it goes on.
        nodes: that share the work.
        on_progress: called, from any thread, whenever what takes long has come further: the first index of tars of
            others.
        fields: what samples are decoded into, by name, or as it is.
        digests: note a hash of each sample's bytes.
        files: note all of its files.

    Raises:
        ShardSetError: one of them is missing, unfinished or empty.
        SettingsError: there is no input of a name, or stored features are of another shape.
    """
    wanted = fields_of(features, fields, augment)
    sources = [ShardSource(url=source)] if isinstance(source, str) else list(source)
    names = [one.name or one.url for one in sources] if len(sources) > 1 else [""]
    sets = [ShardSet.open(one.url, on_progress) for one in sources]
    for one in sets:
        _check_shapes(one, wanted)
    by_video = [augment and shows_one_of_each_video(one, data) for one in sources]
    shown = [sum(shown_per_shard(one, drawn)) for one, drawn in zip(sets, by_video, strict=True)]
    sizes = dict(zip(names, shown, strict=True))
    weights = {name: one.weight for name, one in zip(names, sources, strict=True)}
    shares = shares_of(sizes, weights, data.mix, data.temperature)
    mixture = Mixture.resume(shares, seed, history, position) if history else Mixture.start(shares, seed)
    drawn = features.augment if augment else None
    plan = ReadPlan(sets, mixture, data, wanted, drawn, seed, by_video=by_video, digests=digests, files=files)
    plan.cache = plan_cache(sets, plan.orders, data, nodes)
    return plan


def _check_shapes(shards: ShardSet, fields: Sequence[FieldSpec]) -> None:
    for field in fields:
        if isinstance(field, StoredField) and shards.stored.get(field.member, field.stored) != field.stored:
            raise SettingsError(
                f"features.inputs.{field.name}.shape: expected {list(shards.stored[field.member])}, as {field.member} "
                f"is in {shards.url}, found {list(field.stored)}"
            )


def shows_one_of_each_video(source: ShardSource, data: DataSettings) -> bool:
    """Whether an epoch of training shows one sample of each video of a set."""
    return (source.samples_per_video or data.samples_per_video) == 1


def shown_per_shard(shards: ShardSet, by_video: bool) -> list[int]:
    """How many samples of each shard an epoch shows.

    Raises:
        ShardSetError: it shows one of each video, and which samples are of one is not known.
    """
    return shards.videos_per_shard() if by_video else shards.samples_per_shard()


def order_of(shown: Sequence[int] | Numbers, stored: int, seed: int, data: DataSettings, name: str = "") -> Order:
    """The order of what an epoch shows of each shard, of `stored` samples in all: where it shows one of each video, a
    block is of as many videos as have about `block_samples` samples."""
    block = max(1, data.block_samples * int(np.sum(shown)) // stored)
    return Order(shown, seed, block, data.lanes, name)


def order_error(name: str, before: str, now: str) -> ShardSetError:
    """A run goes on with data of another order."""
    where = f"shard set {name}" if name else "the shard set"
    return ShardSetError(
        f"{where} has another order than when the run was saved (shards, settings of the order or numpy's shuffling "
        f"changed: {before} is {now}), so samples would be shown twice or not at all; bring back the old one, or go "
        "on in the new order with data.allow_change=true"
    )
