from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stream.order import Order

shard_sizes = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(sum)


@settings(deadline=None)
@given(shard_sizes, st.integers(0, 3), st.integers(0, 3), st.integers(1, 5))
def test_every_sample_comes_once_an_epoch(sizes, seed, epoch, block):
    order = Order(sizes, seed, block)
    assert sorted(order.sample_at(epoch, p) for p in range(len(order))) == list(range(sum(sizes)))


@settings(deadline=None)
@given(shard_sizes, st.integers(0, 3), st.data())
def test_the_order_does_not_depend_on_what_was_asked_before(sizes, epoch, data):
    position = data.draw(st.integers(0, sum(sizes) - 1))
    walked = Order(sizes, 7, 3)
    for earlier in range(position):
        walked.sample_at(epoch, earlier)
    assert walked.sample_at(epoch, position) == Order(sizes, 7, 3).sample_at(epoch, position)


def test_epochs_and_seeds_differ():
    orders = [[Order([50] * 4, seed, 2).sample_at(epoch, p) for p in range(200)] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_samples_of_a_block_come_from_its_shards_only():
    order = Order([10] * 9, 0, 3)
    shards = [{order.sample_at(0, p) // 10 for p in range(block * 30, block * 30 + 30)} for block in range(3)]
    assert [len(block) for block in shards] == [3, 3, 3]
    assert set.union(*shards) == set(range(9))
