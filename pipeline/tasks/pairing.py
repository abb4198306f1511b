"""Which frames are shown with which sounds that they don't belong to. Free of torch."""

import hashlib
from collections.abc import Sequence

from cluster.masking import is_masked
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.ceiling import shows_all
from pipeline.tasks.mma_settings import MmaSettings


def draw_partners(
    settings: MmaSettings, seed: int, positions: Sequence[int], samples: Sequence[SampleMetadata], purpose: str = "mma"
) -> list[int | None]:
    """For each sound the index of a frame of another scene, from its group; none where there is no other, or the rule
    for negatives leaves no choice."""
    partners: list[int | None] = []
    in_groups = others_in_groups(settings.group, positions, samples)
    for position, sample, others in zip(positions, samples, in_groups, strict=True):
        if settings.negatives == "unlike":
            others = [other for other in others if not shows_all(samples[other], sample)]
        partners.append(draw_one(seed, purpose, position, others))
    return partners


def others_in_groups(group: int, positions: Sequence[int], samples: Sequence[SampleMetadata]) -> list[list[int]]:
    """For each sample the indices, rising, of those of other scenes in its group of so many consecutive positions."""
    groups: dict[int, list[int]] = {}
    for index, position in enumerate(positions):
        groups.setdefault(position // group, []).append(index)
    return [
        [other for other in groups[position // group] if not same_scene(samples[other], sample)]
        for position, sample in zip(positions, samples, strict=True)
    ]


def contrasted(group: int, positions: Sequence[int], samples: Sequence[SampleMetadata]) -> list[list[bool]]:
    """[B, B]: True of each sample with itself, and with those of its group that are of other scenes."""
    found = []
    for index, others in enumerate(others_in_groups(group, positions, samples)):
        among = {index, *others}
        found.append([column in among for column in range(len(samples))])
    return found


def draw_one(seed: int, purpose: str, position: int, choices: Sequence[int]) -> int | None:
    """One of some, all equally likely, by a key of the sample's position; None of none."""
    return choices[int(keyed_generator(seed, purpose, position).integers(len(choices)))] if choices else None


def same_scene(one: SampleMetadata, other: SampleMetadata) -> bool:
    """Whether two samples are of one video, maybe the very same one, or show the same image: then the frame of either
    may belong to the sound of the other. One video is one id, or one file, of which several parts may be listed."""
    if one.video == other.video:
        return True
    if one.source and one.source == other.source and not is_masked(one.source):  # else what differed may be gone
        return True
    return one.group is not None and one.group == other.group


def scene_numbers(sample: SampleMetadata) -> tuple[int, int, int]:
    """Numbers of the sample's video, its file and its image, 0 where that isn't known: two samples are of one scene, as
    `same_scene` says, where they have one of them in common. They are the same on any process."""
    source = "" if is_masked(sample.source) else sample.source
    video, file, image = (_number(text) for text in (sample.video, source, sample.group or ""))
    return video, file, image


def _number(text: str) -> int:
    """63 bits of its hash; 0 of nothing."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1 if text else 0
