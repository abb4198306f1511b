"""Which persons of a frame are taken, and the place that each keeps from frame to frame."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.prepare.poses.detections import Detection, identities_of


def seated(frames: Mapping[int, Sequence[Detection]], persons: int) -> dict[int, list[Detection | None]]:
    """Of each frame the most confident persons in `persons` places; None in a place whose person isn't seen then.

    A person goes back to the place that its identity had last, where the file gives identities, else to the one whose
    last person was nearest. A place that nobody had yet counts as far away as the person is large, so somebody new
    who is far from all others gets one of his own.
    """
    followed = identities_of(frames)
    last: list[Detection | None] = [None] * persons
    found: dict[int, list[Detection | None]] = {}
    for number in sorted(frames):
        chosen = sorted(frames[number], key=lambda one: -one.score)[:persons]
        row: list[Detection | None] = [None] * persons
        empty = [place for place, before in enumerate(last) if before is None]
        costs = [
            (_cost(one, before, followed), place, who)
            for who, one in enumerate(chosen)
            for place, before in enumerate(last)
            if before is not None or place == empty[0]
        ]
        settled: set[int] = set()
        new: list[int] = []
        for _, place, who in sorted(costs):
            if who in settled:
                continue
            if place in empty:
                if len(new) == len(empty):
                    continue
                new.append(who)
            elif row[place] is None:
                row[place] = chosen[who]
            else:
                continue
            settled.add(who)
        for place, who in zip(empty, sorted(new), strict=False):  # the most confident first
            row[place] = chosen[who]
        last = [one or before for one, before in zip(row, last, strict=True)]
        found[number] = row
    return found


def _cost(one: Detection, before: Detection | None, followed: bool) -> tuple[bool, float]:
    """How unlikely it is that a person belongs to the place where another one was last: the lower the likelier."""
    if before is None:
        return followed, one.extent
    far = float(np.hypot(*(one.centre - before.centre)))
    if not followed:
        return False, far
    if one.identity == before.identity:
        return False, 0.0
    return True, one.extent + far
