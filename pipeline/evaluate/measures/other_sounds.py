"""Whose sound an image gets in the row `shuffled audio`."""

from collections.abc import Sequence

from pipeline.samples.metadata import SampleMetadata


def choose_other_sounds(samples: Sequence[SampleMetadata]) -> list[int | None]:
    """For each sample the place of one whose sound does not belong to its image: the one half the set away, or the next
    behind it that is of another video and another group and, where labels say what sounds, shares no class with
    anything that sounds in the image. None where there is no such sample.
    """
    sounding = _sounding_in_image(samples)
    return [_first_stranger(place, samples, sounding) for place in range(len(samples))]


def _sounding_in_image(samples: Sequence[SampleMetadata]) -> list[set[str]]:
    """The labels of each sample, together with those of the others of its group, which have the same image."""
    of_group: dict[str, set[str]] = {}
    for sample in samples:
        if sample.group is not None:
            of_group.setdefault(sample.group, set()).update(sample.labels)
    return [set(sample.labels) if sample.group is None else of_group[sample.group] for sample in samples]


def _first_stranger(place: int, samples: Sequence[SampleMetadata], sounding: Sequence[set[str]]) -> int | None:
    image, count = samples[place], len(samples)
    for step in range(count):
        other = (place + count // 2 + step) % count
        sound = samples[other]
        same_image = image.group is not None and sound.group == image.group
        if sound.video != image.video and not same_image and sounding[place].isdisjoint(sound.labels):
            return other
    return None
