import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stream.order import RUN, Order
from pipeline.stream.steps import dealt

shard_sizes = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(sum)
blocks, lanes = st.integers(1, 40), st.integers(1, 5)


@settings(deadline=None)
@given(shard_sizes, st.integers(0, 3), st.integers(0, 3), blocks, lanes)
def test_every_sample_comes_once_an_epoch(sizes, seed, epoch, block, lanes):
    order = Order(sizes, seed, block, lanes)
    assert sorted(order.samples_at(epoch, range(len(order)))) == list(range(sum(sizes)))


@settings(deadline=None)
@given(shard_sizes, st.integers(0, 3), blocks, lanes, st.data())
def test_the_order_does_not_depend_on_what_was_asked_before_nor_how(sizes, epoch, block, lanes, data):
    order = Order(sizes, 7, block, lanes)
    whole = order.samples_at(epoch, range(len(order)))
    start = data.draw(st.integers(0, len(order) - 1))
    stop = data.draw(st.integers(start + 1, len(order)))
    fresh = Order(sizes, 7, block, lanes)
    assert fresh.samples_at(epoch, range(start, stop)).tolist() == whole[start:stop].tolist()
    some = data.draw(st.lists(st.integers(0, len(order) - 1), min_size=1, max_size=9))
    assert Order(sizes, 7, block, lanes).samples_at(epoch, np.array(some)).tolist() == whole[some].tolist()
    assert fresh.samples_at(epoch, [start]).tolist() == [whole[start]]


def test_epochs_seeds_and_names_differ():
    orders = [
        tuple(Order([50] * 4, seed, 100, 2, name).samples_at(epoch, range(200)))
        for seed in (0, 1)
        for epoch in (0, 1)
        for name in ("", "a")
    ]
    assert len(set(orders)) == 8


def test_runs_go_through_the_lanes_and_each_lane_keeps_its_shards_over_the_epochs():
    order = Order([10] * 48, 0, 40, 4)
    shards = []
    for epoch in (0, 1):
        runs = order.shard_of(order.samples_at(epoch, range(480))).reshape(-1, 4, RUN)
        shards.append([set(runs[:, lane].flatten().tolist()) for lane in range(4)])
    assert [len(lane) for lane in shards[0]] == [12] * 4
    assert set.union(*shards[0]) == set(range(48))
    assert shards[0] == shards[1]


def test_samples_of_a_block_come_from_its_shards_only():
    order = Order([10] * 9, 0, 30)
    shards = [set((order.samples_at(0, range(block * 30, block * 30 + 30)) // 10).tolist()) for block in range(3)]
    assert [len(block) for block in shards] == [3, 3, 3]
    assert set.union(*shards) == set(range(9))


@given(st.integers(0, 2), st.integers(0, 479), st.integers(1, 9))
@settings(deadline=None)
def test_a_stand_in_comes_from_the_same_block_and_depends_on_nothing_else(epoch, position, attempt):
    order = Order([10] * 48, 0, 120)
    start = position // 120 * 120
    block = order.samples_at(epoch, range(start, start + 120)).tolist()
    stand_in = order.stand_in(epoch, position, attempt)
    assert stand_in in (block if attempt <= 4 else range(480))
    assert stand_in == Order([10] * 48, 0, 120).stand_in(epoch, position, attempt)


def test_the_order_is_this_one_for_ever():
    """A run that goes on with another order shows samples twice; if numpy changes its shuffling, this must be known."""
    order = Order([5, 0, 7, 30, 1, 12], 3, 10, 2)
    assert order.samples_at(1, range(12)).tolist() == [47, 49, 51, 46, 45, 43, 52, 54, 33, 35, 34, 38]
    assert order.fingerprint() == "909da3a0850bbceb"


@pytest.mark.parametrize("change", [{"seed": 1}, {"block_samples": 20}, {"lanes": 1}, {"name": "x"}])
def test_the_fingerprint_tells_orders_apart(change):
    words = {"shard_samples": [10] * 20, "seed": 0, "block_samples": 40, "lanes": 2}
    assert Order(**words | change).fingerprint() != Order(**words).fingerprint()
    assert Order(**words).fingerprint() == Order(**words).fingerprint()


def test_neighbours_come_from_one_shard_no_more_often_than_from_a_buffer_of_ten_thousand():
    order = Order([1000] * 100, 0, 20_000, 4)
    shards = order.shard_of(order.samples_at(0, range(100_000)))
    ours = float(np.mean(shards[1:] == shards[:-1]))
    random = np.random.default_rng(0)
    stream = np.repeat(random.permutation(100), 1000)
    buffer, out = list(stream[:10_000]), []
    for one in stream[10_000:].tolist():
        at = int(random.integers(len(buffer)))
        out.append(buffer[at])
        buffer[at] = one
    theirs = float(np.mean(np.diff(out) == 0))
    assert ours <= theirs


@pytest.mark.parametrize(("batch", "ranks"), [(64, 4), (256, 8), (512, 2), (1024, 16)])
def test_a_rank_reads_its_own_lanes_whatever_the_batch(batch, ranks):
    order = Order([100] * 160, 0, 1000, 8)
    positions = np.arange(4 * batch)
    lanes = (positions // RUN % 8 + 0.5) / 8
    steps = dealt(positions, lanes, 0, batch).reshape(4, ranks, -1)
    for rank in range(ranks):
        mine = steps[:, rank].flatten()
        assert len({position // RUN % 8 for position in mine.tolist()}) <= max(1, 8 // ranks)
        shards = set(order.shard_of(order.samples_at(0, mine)).tolist())
        assert len(shards) <= 160 / 8 * max(1, 8 // ranks) + 2
    assert sorted(steps.flatten().tolist()) == positions.tolist()
