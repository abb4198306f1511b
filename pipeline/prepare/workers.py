"""Where shards are made: in Ray's workers, or one after the other where Ray, which is slow to start, does not pay."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import chain, islice

from cluster.step import Step
from pipeline.prepare.build import ShardTask
from pipeline.prepare.prepare import Workers, in_turn, on_ray
from pipeline.shards.ledger import InputEntry


def where_it_pays(
    stack: ExitStack, address: str | None, workers: int | None, on_ray_started: Callable[[], object] = lambda: None
) -> Workers:
    """On Ray where several shards are to be made at once, or a cluster is named.

    Args:
        stack: with whose end Ray's workers end.
        address: of a Ray cluster that is there.
        workers: at most; None for as many as there are CPUs.
        on_ray_started: called behind that.
    """

    def make(tasks: Iterable[ShardTask]) -> Iterable[Step[ShardTask, list[InputEntry]]]:
        source = iter(tasks)
        ahead = list(islice(source, 2))
        if address is None and (workers == 1 or len(ahead) == 1):
            return in_turn(chain(ahead, source))
        from cluster.ray_pool import RayPool  # which takes seconds to import

        pool = stack.enter_context(RayPool(address, workers))
        on_ray_started()
        return on_ray(pool)(chain(ahead, source))

    return make
