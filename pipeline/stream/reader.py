"""Reading the samples at given positions: a pure function of the plan, without torch."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from pipeline.errors import ShardSetError
from pipeline.features.draws import draw_augmentation
from pipeline.features.settings import Geometry
from pipeline.samples.metadata import Box
from pipeline.shards.array_file import SUFFIX
from pipeline.shards.members import Sample
from pipeline.shards.shard_set import SamplePlace
from pipeline.stream.arrays import Arrays
from pipeline.stream.decode import decode_sample
from pipeline.stream.opened_sample import CENTRE
from pipeline.stream.order import Numbers
from pipeline.stream.randomness import keyed_generator
from pipeline.stream.read_plan import Pick, ReadPlan
from pipeline.stream.shard_bytes import Content, ShardBytes

_NONE_CRASHED: Mapping[int, str] = MappingProxyType({})
Positions = range | Numbers
"""Global positions of samples."""


@dataclass(frozen=True)
class Note:
    """What came besides arrays.

    Attributes:
        metadata: JSON of the sample that is shown.
        squares: of each geometry that a field has, the box of the square in the upright picture.
        frame_times_s, audio_start_s: of its first pictures and its first sound, as of `DecodedSample`.
        digest: as of `digest_of`, where the plan asks for it; else empty.
        bad: what was wrong with those that it stands in for: shard, key, sentence. Of a plan that leaves gaps, what is
            wrong with this one.
        files: that the plan wants besides arrays.
    """

    key: str
    metadata: str
    squares: Mapping[Geometry, Box] = field(default_factory=dict)
    frame_times_s: Sequence[float] = ()
    audio_start_s: float | None = None
    digest: bytes = b""
    bad: tuple[tuple[str, str, str], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class Chunk:
    """Samples whose bytes were asked for."""

    positions: Positions
    crashed: Mapping[int, str]
    picks: list[Pick]
    places: list[SamplePlace | ShardSetError]
    wait: Callable[[], list[Content]]


class SampleReader:
    """Reads what a plan says; one a process.

    A sample that is damaged, gone or doesn't decode is replaced by another of its block (`Order.stand_in`), the same
    one whoever reads.
    """

    def __init__(self, plan: ReadPlan) -> None:
        self.plan = plan
        self._before_first: Callable[[], None] = lambda: None
        self.bytes = ShardBytes(None)
        if plan.cache is not None:
            cache = plan.cache.open()
            for one in plan.sets:
                one.share_indexes(cache)
            self._before_first = partial(plan.cache.wait_for_turn, cache)
            self.bytes = ShardBytes(cache, plan.cache.opening)
        self._say_waiting: Callable[[bool], None] = lambda _: None

    def begin(self, positions: Positions, crashed: Mapping[int, str] = _NONE_CRASHED) -> Chunk:
        """Ask for the bytes of the samples at global positions.

        Args:
            crashed: positions whose sample ends the process that decodes it, and how, as a sentence.

        Raises:
            UnreachableError: the storage does not answer.
        """
        self._before_first()
        self._before_first = lambda: None
        picks = self.plan.picks(positions)
        places = self.plan.places(picks)
        return Chunk(positions, crashed, picks, places, self.bytes.begin(_known(places)))

    def finish(self, chunk: Chunk, arrays: Arrays, say_waiting: Callable[[bool], None] = lambda _: None) -> list[Note]:
        """Wait for the bytes, check and decode them into arrays for as many samples.

        Args:
            say_waiting: called when it waits for more bytes, which takes as long as the storage, and after it.

        Raises:
            ShardSetError: too many samples in a row are bad.
            UnreachableError: the storage does not answer.
        """
        contents = iter(chunk.wait())
        self._say_waiting = say_waiting
        notes = []
        for at, (position, pick, place) in enumerate(zip(chunk.positions, chunk.picks, chunk.places, strict=True)):
            content = None if isinstance(place, ShardSetError) else next(contents)
            notes.append(self._one(int(position), pick, place, content, chunk.crashed.get(int(position)), arrays, at))
        return notes

    def read(self, positions: Positions, arrays: Arrays) -> list[Note]:
        """Both in one."""
        return self.finish(self.begin(positions), arrays)

    def prefetch(self, positions: Positions) -> None:
        """Begin to bring the samples of later positions near; what is wrong is said when they are read."""
        self.bytes.prefetch(_known(self.plan.places(self.plan.picks(positions))))

    def close(self) -> None:
        """Give back files and threads."""
        self.bytes.close()

    def _one(
        self,
        position: int,
        pick: Pick,
        place: SamplePlace | ShardSetError,
        content: Content | None,
        crashed: str | None,
        arrays: Arrays,
        at: int,
    ) -> Note:
        """Decode the sample at a position, or what stands in for it."""
        plan, bad = self.plan, []
        cut = (CENTRE, plan.moment(position))
        if plan.augment is not None:
            generator = keyed_generator(plan.seed, "square", position)
            cut = (float(generator.random()), float(generator.random()))
            arrays.draws[at] = draw_augmentation(plan.augment, keyed_generator(plan.seed, "augment", position))
        for attempt in range(1, plan.data.max_bad_in_a_row + 1):
            try:
                if crashed is not None and attempt == 1:
                    raise ValueError(crashed)
                sample = self._parse(pick, place, content)
                decoded = decode_sample(sample, plan.fields, *cut, plan.seed, position, arrays.sample(at))
                break
            except (ShardSetError, ValueError) as error:
                where = (place.url, place.key) if isinstance(place, SamplePlace) else (plan.sets[pick.set].url, "")
                bad.append((*where, str(error)))
                pick = plan.stand_in(pick, attempt)
                place, content = self._fetch(pick)
        else:
            if plan.leaves_gaps:
                for array in arrays.sample(at).values():
                    array[:] = 0
                return Note(bad[-1][1], "", bad=tuple(bad))
            most = plan.data.max_bad_in_a_row
            how = f"{most} samples in a row can't be used; the last: " if most > 1 else ""  # else nothing stands in
            raise ShardSetError(f"{plan.sets[pick.set].url}: {how}{bad[-1][2]}")
        return Note(
            decoded.key,
            sample.text or sample.metadata.model_dump_json(),
            decoded.squares,
            decoded.frame_times_s,
            decoded.audio_start_s,
            digest_of(sample) if plan.digests else b"",
            tuple(bad),
            plan.files_of(sample),
        )

    def _fetch(self, pick: Pick) -> tuple[SamplePlace | ShardSetError, Content | None]:
        """Where a sample lies, and its bytes, at once."""
        self._say_waiting(True)
        place = self.plan.places([pick])[0]
        content = None if isinstance(place, ShardSetError) else self.bytes.begin([place])()[0]
        self._say_waiting(False)
        return place, content

    def _parse(self, pick: Pick, place: SamplePlace | ShardSetError, content: Content | None) -> Sample:
        if isinstance(place, ShardSetError):
            raise place
        if not isinstance(content, bytes):
            raise ShardSetError(str(content))
        try:
            return self.plan.sets[pick.set].parse(place, content)
        except ValueError:
            # maybe it was the way here: once more, from where it comes from
            self.bytes.discard(place)
            _, content = self._fetch(pick)
            if not isinstance(content, bytes):
                raise ShardSetError(str(content)) from None
            return self.plan.sets[pick.set].parse(place, content)


def _known(places: list[SamplePlace | ShardSetError]) -> list[SamplePlace]:
    return [place for place in places if isinstance(place, SamplePlace)]


def digest_of(sample: Sample) -> bytes:
    """A hash of a sample's pictures and sound as they lie in its shard, or of its stored features where it has neither:
    the same for the same sample under two names."""
    digest = hashlib.sha256()  # which processors have an instruction for: half of what blake2b takes
    media = (*sample.images, sample.clip or b"", sample.audio)
    arrays = [sample.files[name] for name in sorted(sample.files) if name.endswith(SUFFIX)]
    for part in media if any(media) else arrays:
        digest.update(part)
    return digest.digest()[:16]
