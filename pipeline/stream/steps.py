"""Which rank reads which positions of a step.

The global batch of step n is the positions n·G … (n+1)·G − 1 from where the run began; that is all that a step shows.
Which rank has which of them is free, and is chosen such that a rank, and with it a node, always reads the same lanes
of the order, and fetches their shards only: the runs of a step are put in the order of their lanes and cut into equal
parts. Positions of a run, and of a pairing group, stay together.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.stream.order import RUN, Numbers
from pipeline.stream.read_plan import ReadPlan


def steps_of(
    plan: ReadPlan,
    first_position: int,
    steps: int,
    batch_size: int,
    micro_batch: int,
    rank: int = 0,
    world_size: int = 1,
    group: int = 1,
) -> Iterator[Numbers]:
    """The positions [micro_batch] of one rank's micro-batches, for so many steps from a position on.

    Args:
        batch_size: G, of all ranks together; a multiple of `world_size` · `micro_batch`.
        group: consecutive positions that must stay together; it divides `micro_batch` and `first_position`.
    """
    share = batch_size // world_size
    for step in range(steps):
        begin = first_position + step * batch_size
        positions = np.arange(begin, begin + batch_size)
        if world_size > 1:
            positions = dealt(positions, plan.lanes_of(positions), first_position, batch_size, group)
        mine = positions[rank * share : (rank + 1) * share]
        for start in range(0, share, micro_batch):
            yield mine[start : start + micro_batch]


def dealt(
    positions: Numbers, lanes: npt.NDArray[np.float64], first_position: int, batch_size: int, group: int = 1
) -> Numbers:
    """Consecutive positions [N] of whole steps, those of each step in the order in which ranks get them.

    Args:
        lanes: [N] where each position's lane lies among the lanes, 0–1.
    """
    together = positions // (RUN if RUN % group == 0 else math.lcm(RUN, group))
    first = np.searchsorted(together, together)  # of those that stay together the first one's lane counts
    steps = (positions - first_position) // batch_size
    return positions[np.lexsort((positions, lanes[first], steps))]


def shares_of_validation(samples: int, micro_batch: int, rank: int, world_size: int) -> Iterator[range]:
    """One rank's part of the first `samples` positions."""
    pieces = [range(start, min(start + micro_batch, samples)) for start in range(0, samples, micro_batch)]
    yield from pieces[rank::world_size]
