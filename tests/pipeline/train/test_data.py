import itertools
import json
from pathlib import Path

import pytest
import torch

from cluster.process_group import ProcessGroup
from pipeline.errors import CheckpointError, ShardSetError
from pipeline.experiment import ExperimentSettings
from pipeline.tasks.task import Task
from pipeline.train.checkpoints import Checkpoint
from pipeline.train.data import TrainingData, open_data
from tiny_shards import FEATURES, write_shard_set

BATCH = 8
ONE = ProcessGroup(0, 0, 1, torch.device("cpu"))


class Untaught(Task):
    """Has no targets."""

    def targets(self, seed, positions, metadata, purpose):
        return {}


NOTHING = Untaught()


class Apart(ProcessGroup):
    """A rank whose others are elsewhere in time: it looks for itself."""

    is_main = True

    def from_main(self, value):
        return value


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sets")
    return {name: str(write_shard_set(folder / name, 24, seed=at)) for at, name in enumerate("abc")}


def settings_of(train, **data) -> ExperimentSettings:
    chosen = {"train": train, "workers": 0, "block_samples": 8, "lanes": 2} | data
    return ExperimentSettings.model_validate({"data": chosen, "features": FEATURES, "train": {"batch_size": BATCH}})


def saved(data: TrainingData) -> Checkpoint:
    return Checkpoint("run/step", {"step": 1, "state": json.loads(json.dumps({"cursor": data.cursor()}))})


def read(data: TrainingData, steps: int) -> list[str]:
    keys, batches = [], data.batches(steps, NOTHING)
    for batch in itertools.islice(batches, steps):
        keys += [f"{note.key}/{note.metadata[-40:]}" for note in batch.notes]
        data.count(BATCH, batch.replaced)
    return keys


def test_a_run_goes_on_at_its_cursor_where_the_data_has_moved(sets, tmp_path):
    with open_data(settings_of(sets["a"]), BATCH, ONE, None) as data:
        expected = read(data, 6)
    with open_data(settings_of(sets["a"]), BATCH, ONE, None) as data:
        read(data, 4)
        checkpoint = saved(data)
    moved = write_shard_set(tmp_path / "moved", 24, seed=0)
    with open_data(settings_of(str(moved)), BATCH, ONE, checkpoint) as data:
        assert data.position == 4 * BATCH
        assert data.changes == []
        assert read(data, 2) == expected[4 * BATCH :]


def test_other_weights_and_sets_are_allowed_and_said_and_nothing_is_shown_twice(sets):
    two = [{"url": sets["a"], "name": "a"}, {"url": sets["b"], "name": "b"}]
    with open_data(settings_of(two), BATCH, ONE, None) as data:
        read(data, 2)
        checkpoint = saved(data)
        shown = data.plan.mixture.read_before(2 * BATCH)
    three = [{"url": sets["a"], "name": "a", "weight": 4.0}, *two[1:], {"url": sets["c"], "name": "c"}]
    with open_data(settings_of(three, mix="samples"), BATCH, ONE, checkpoint) as data:
        (change,) = data.changes
        assert "the weights are other ones" in change
        picks = data.plan.mixture.picks(range(2 * BATCH, 20 * BATCH))
        for number, name in enumerate("abc"):
            mine = picks.positions[picks.sets == number].tolist()
            assert mine == list(range(shown.get(name, 0), shown.get(name, 0) + len(mine)))
        read(data, 1)
        again = saved(data)
    with open_data(settings_of(three, mix="samples"), BATCH, ONE, again) as data:
        assert data.changes == []
        assert data.plan.mixture.picks(range(3 * BATCH, 9 * BATCH)).positions.tolist() == (
            picks.positions[BATCH : 7 * BATCH].tolist()
        )


def test_data_of_another_order_is_refused_unless_allowed(sets, tmp_path):
    with open_data(settings_of(sets["a"]), BATCH, ONE, None) as data:
        checkpoint = saved(data)
    more = str(write_shard_set(tmp_path / "more", 32, seed=0))
    with (
        pytest.raises(ShardSetError, match="another order than when the run was saved"),
        open_data(settings_of(more), BATCH, ONE, checkpoint),
    ):
        pass
    with open_data(settings_of(more, allow_change=True), BATCH, ONE, checkpoint) as data:
        assert "another order" in data.changes[0]
        assert len(read(data, 1)) == BATCH


def test_shards_of_other_bytes_in_the_same_order_are_said(sets, tmp_path):
    with open_data(settings_of(sets["a"]), BATCH, ONE, None) as data:
        checkpoint = saved(data)
    other = str(write_shard_set(tmp_path / "other", 24, seed=9))
    with open_data(settings_of(other), BATCH, ONE, checkpoint) as data:
        (change,) = data.changes
        assert change.startswith("the shard set holds other bytes than when the run was saved")
        again = saved(data)
    with open_data(settings_of(other), BATCH, ONE, again) as data:
        assert data.changes == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_first_index_of_tars_of_others_says_that_it_comes_further(sets, tmp_path, processes):
    for file in Path(sets["a"]).glob("*.tar"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    group, moves = Apart(0, 0, processes, torch.device("cpu")), []
    for _ in range(2):
        with open_data(settings_of(str(tmp_path)), BATCH // processes, group, None, lambda: moves.append(1)) as data:
            assert len(data.plan) == 24
    assert 1 <= len(moves) <= len(list(tmp_path.glob("*.tar")))


def test_a_checkpoint_without_a_cursor_is_refused(sets):
    checkpoint = Checkpoint("run/step", {"step": 1, "state": {}})
    with (
        pytest.raises(CheckpointError, match="expected a cursor"),
        open_data(settings_of(sets["a"]), BATCH, ONE, checkpoint),
    ):
        pass


def test_too_many_bad_samples_stop_the_run_on_every_rank_at_the_same_step(tmp_path):
    folder = Path(write_shard_set(tmp_path / "set", 40))
    (folder / "shard-000002.tar").unlink()  # a fifth of all
    stopped = []
    for rank in range(2):
        group = Apart(rank, rank, 2, torch.device("cpu"))
        settings = settings_of(str(folder), max_bad_rate=0.15)
        with open_data(settings, BATCH // 2, group, None) as data:
            replaced = [batch.replaced for batch in itertools.islice(data.batches(10, NOTHING), 10)]
            assert sum(replaced) > 0
            stopped.append(replaced)
    both = [sum(step) for step in zip(*stopped, strict=True)]
    with open_data(settings_of(str(folder), max_bad_rate=0.15), BATCH, ONE, None) as data:
        assert [batch.replaced for batch in itertools.islice(data.batches(10, NOTHING), 10)] == both
        data.count(992, 190)  # not judged before a thousand
        assert data.fault is None
        data.count(8, 8)
        assert data.fault is not None
        assert "198 of 1000 samples were bad since the start, more than data.max_bad_rate = 0.15" in data.fault
