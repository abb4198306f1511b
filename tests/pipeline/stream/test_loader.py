import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ShardSetError
from pipeline.features.settings import FeatureSettings
from pipeline.shards.dataset import Dataset
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.settings import DataSettings, ShardSource
from pipeline.stream.steps import shares_of_validation, steps_of
from tiny_shards import FEATURES, write_shard_set

STEPS = 4
BATCH = 16


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("shards"), samples=37)


def plan_of(source, workers: int = 0, augment: bool = True, **data) -> ReadPlan:
    chosen = DataSettings(workers=workers, block_samples=16, lanes=2, **data)
    source = source if isinstance(source, list) else str(source)
    return plan_reading(source, FeatureSettings.model_validate(FEATURES), chosen, 3, augment)


def read_steps(source, world_size: int = 1, micro: int = BATCH, workers: int = 0, first: int = 0, **data):
    """All batches of the steps from `first` on."""
    batches = []
    for rank in range(world_size):
        with Loader(plan_of(source, workers, **data), micro) as loader:
            pieces = steps_of(loader.plan, first * BATCH, STEPS - first, BATCH, micro, rank, world_size)
            batches += list(loader.batches(pieces))
    return batches


def contents(batches) -> tuple[list[str], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys, frames, sounds and volumes of all samples, in order of position."""
    keys = [key for batch in batches for key in batch.keys]
    order = torch.tensor([position for batch in batches for position in batch.positions]).argsort()
    return (
        [keys[at] for at in order.tolist()],
        torch.cat([batch.tensors["frames"] for batch in batches])[order],
        torch.cat([batch.tensors["sound"] for batch in batches])[order],
        torch.cat([batch.draws.volume for batch in batches])[order],
    )


def assert_same(found, expected) -> None:
    (keys, *tensors), (expected_keys, *expected_tensors) = contents(found), contents(expected)
    assert keys == expected_keys
    assert all(torch.equal(a, b) for a, b in zip(tensors, expected_tensors, strict=True))


@pytest.fixture(scope="module")
def expected(shards):
    return read_steps(shards)


@pytest.mark.parametrize(("world_size", "micro", "workers"), [(1, 8, 1), (2, 4, 0), (2, 8, 2), (4, 2, 0), (8, 2, 0)])
def test_a_steps_samples_are_the_same_on_any_number_of_ranks_and_workers(shards, expected, world_size, micro, workers):
    assert_same(read_steps(shards, world_size, micro, workers), expected)


def test_going_on_at_a_step_gives_what_an_uninterrupted_run_gives(shards, expected):
    assert_same(read_steps(shards, 2, 4, first=3), expected[3:])


shard_sizes = st.lists(st.integers(1, 30), min_size=1, max_size=6)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(shard_sizes, min_size=1, max_size=3),
    st.sampled_from([(1, 1), (2, 3), (3, 5), (5, 2), (8, 1)]),
    st.integers(1, 3),
    st.integers(0, 200),
    st.integers(0, 5),
)
def test_over_ranks_remainders_interruptions_and_mixes_the_samples_of_a_step_are_the_same(
    sets, ranks, micro_per_rank, interrupted_after, seed
):
    """Two numbers of ranks, one after the other, against one rank that is never interrupted."""
    before, after = ranks
    batch = before * after * micro_per_rank * 4
    names = [f"set{number}" for number in range(len(sets))]
    source = [
        ShardSet(name, [(f"{at}.tar", size) for at, size in enumerate(sizes)])
        for name, sizes in zip(names, sets, strict=True)
    ]
    plan = _plan(source, seed)
    steps, switch = 240 // batch + 2, interrupted_after // batch
    whole = [plan.picks(range(step * batch, (step + 1) * batch)) for step in range(steps)]
    found = []
    for first, last, world_size in ((0, switch, before), (switch, steps, after)):
        anew = _plan(source, seed)
        micro = batch // world_size // 2
        for step in range(first, last):
            picks = {}
            for rank in range(world_size):
                for piece in steps_of(anew, step * batch, 1, batch, micro, rank, world_size, group=2):
                    assert all(other ^ 1 in piece for other in piece)  # pairs stay together
                    picks |= dict(zip(piece.tolist(), anew.picks(piece), strict=True))
            found.append([picks[position] for position in range(step * batch, (step + 1) * batch)])
    assert found[: len(whole)] == whole
    seen = [(pick.set, pick.epoch, pick.sample) for step in whole for pick in step]
    assert len(set(seen)) == len(seen)  # each sample at most once an epoch …
    for number, one in enumerate(source):
        epochs = [epoch for at, epoch, _ in seen if at == number]
        for epoch in range(max(epochs, default=0)):
            assert epochs.count(epoch) == len(one)  # … and of a whole epoch all


def _plan(sets: list[ShardSet], seed: int) -> ReadPlan:
    from pipeline.stream.fields.registry import fields_of
    from pipeline.stream.mixture import Mixture

    data = DataSettings(block_samples=20, lanes=2)
    shares = {one.url: 1.0 + number for number, one in enumerate(sets)}
    fields = fields_of(FeatureSettings.model_validate(FEATURES), ("frames", "sound"), augment=False)
    return ReadPlan(sets, Mixture.start(shares, seed), data, fields, None, seed)


def test_several_sets_are_mixed_by_weight_and_each_sample_comes_once_an_epoch(tmp_path):
    small, large = write_shard_set(tmp_path / "a", 16, seed=1), write_shard_set(tmp_path / "b", 40, seed=2)
    source = [ShardSource(url=str(small)), ShardSource(url=str(large), weight=0.5)]
    plan = plan_of(source, workers=1)
    with Loader(plan, BATCH) as loader:
        batches = list(loader.batches(steps_of(plan, 0, 8, BATCH, BATCH)))
    picks = plan.picks(range(8 * BATCH))
    keys = [key for batch in batches for key in batch.keys]
    assert keys == [f"video{pick.sample}-000" for pick in picks]
    assert {pick.set for pick in picks} == {0, 1}


def damage(folder: Path, sample: int, marker: bytes | None = None) -> str:
    """Overwrite the sound and picture of a sample of the first shard; gives its key."""
    place = json.loads((folder / "shard-000000.json").read_text())["samples"][sample]
    tar = bytearray((folder / "shard-000000.tar").read_bytes())
    begin, end = place["offset"] + 512, place["offset"] + place["bytes"]
    if marker is None:
        tar[begin:end] = bytes(end - begin)
    else:  # inside the sound, and the index agrees with it
        at = tar.rindex(b"fLaC", begin, end) + 200
        tar[at : at + len(marker)] = marker
        for one in (shard := json.loads((folder / "shard-000000.json").read_text()))["samples"]:
            if one["key"] == place["key"]:
                del one["crc32"]
        (folder / "shard-000000.json").write_text(json.dumps(shard))
    (folder / "shard-000000.tar").write_bytes(tar)
    return place["key"]


def test_a_damaged_sample_is_replaced_the_same_way_everywhere_and_said(tmp_path, caplog):
    folder = write_shard_set(tmp_path, samples=37)
    before = read_steps(folder)
    key = damage(folder, 3)
    with caplog.at_level(logging.WARNING):
        batches = read_steps(folder)
    changed = [
        (position, new)
        for position, (old, new) in enumerate(zip(contents(before)[0], contents(batches)[0], strict=True))
        if old == key
    ]
    plan = plan_of(folder)
    assert len(changed) == [pick.sample for pick in plan.picks(range(STEPS * BATCH))].count(3) > 0
    for position, new in changed:
        epoch, place = divmod(position, 37)
        stands_in = (plan.orders[0].stand_in(epoch, place, attempt) for attempt in range(1, 9))
        assert new == next(name for name in (f"video{sample}-000" for sample in stands_in) if name != key)
    assert sum(batch.replaced for batch in batches) == len(changed)
    assert f"sample {key} is bad" in caplog.text
    for world_size, workers in ((2, 1), (4, 0)):
        assert_same(read_steps(folder, world_size, 4, workers), batches)


def test_a_shard_that_is_gone_and_a_damaged_index_are_replaced_and_counted(tmp_path, caplog):
    folder = write_shard_set(tmp_path, samples=40)
    (folder / "shard-000001.tar").unlink()
    (folder / "shard-000002.json").write_text("{")
    batches = read_steps(folder, workers=1)
    lost = {f"video{sample}-000" for sample in range(8, 24)}
    assert not lost & set(contents(batches)[0])
    planned = [pick.sample for pick in plan_of(folder).picks(range(STEPS * BATCH))]
    assert sum(batch.replaced for batch in batches) == sum(8 <= sample < 24 for sample in planned)
    assert "shard-000001.tar" in caplog.text
    assert "shard-000002.json" in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_set_in_which_nothing_decodes_stops_with_a_sentence(tmp_path, workers):
    folder = write_shard_set(tmp_path, samples=8)
    (folder / "shard-000000.tar").write_bytes(bytes(1000))
    with pytest.raises(ShardSetError, match="5 samples in a row can't be used"):
        read_steps(folder, workers=workers, max_bad_in_a_row=5)


def test_killed_workers_are_replaced_and_nothing_changes(shards, expected):
    with Loader(plan_of(shards, workers=2, prefetch=1), 4) as loader:
        batches = []
        for number, batch in enumerate(loader.batches(steps_of(loader.plan, 0, STEPS, BATCH, 4, 0, 1))):
            batches.append(batch)
            if number % 3 == 1:
                os.kill(loader.worker_pids[number % 2], signal.SIGKILL)
    assert_same(batches, expected)


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Sounds that hold `DEADLY` end the worker that decodes them, those with `SLEEPY` never end, and those with
    `HUNGRY` take 3 GB."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import os, signal, time
            import pipeline.stream.decode as decode

            real = decode.decode_sample

            def watched(sample, *words, **more):
                if b"DEADLY" in sample.audio:
                    os.kill(os.getpid(), signal.SIGSEGV)
                if b"SLEEPY" in sample.audio:
                    time.sleep(1000)
                if b"HUNGRY" in sample.audio:
                    hoard = [os.urandom(1 << 20) * 16 for _ in range(200)]
                return real(sample, *words, **more)

            decode.decode_sample = watched
        """)
    )
    monkeypatch.syspath_prepend(tmp_path / "hook")


@pytest.mark.parametrize(
    ("marker", "why"),
    [
        (b"DEADLY", "decoding it ends the process (signal 11)"),
        (b"SLEEPY", "decoding it takes longer than 1 s"),
        (b"HUNGRY", "more than 500 MB of memory taken, data.worker_memory_mb"),
    ],
)
def test_a_sample_that_ends_stops_or_fills_its_process_is_replaced_like_a_damaged_one(
    tmp_path, deadly, marker, why, caplog
):
    folder, other = write_shard_set(tmp_path / "a", samples=37), tmp_path / "b"
    shutil.copytree(folder, other)
    damage(folder, 3, marker)
    damage(other, 3)
    found = read_steps(folder, workers=1, deadline_s=30 if marker == b"HUNGRY" else 1, worker_memory_mb=500)
    assert why in caplog.text
    assert_same(found, read_steps(other))
    assert sum(batch.replaced for batch in found) > 0


def shared_files() -> set[str]:
    """Files of shared memory that could be a loader's; tests beside this one may have others."""
    return {name for name in os.listdir("/dev/shm") if "gavt" in name or name.startswith(("torch_", "psm_"))}


def test_nothing_is_left_when_the_trainer_is_killed(shards):
    code = f"""
        import time
        from test_loader import plan_of, steps_of, Loader
        loader = Loader(plan_of({str(shards)!r}, workers=2), 16)
        next(loader.batches(steps_of(loader.plan, 0, 4, 16, 16, 0, 1)))
        print(*loader.worker_pids, flush=True)
        time.sleep(1000)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    before = shared_files()
    process.kill()
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, pids))
    assert shared_files() <= before


def test_workers_do_without_torch():
    code = "import pipeline.stream.worker, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


EMPTY = Dataset(samples=0, videos=0, failed=0, layouts=["frame"], plan_hash="", shards=[], reasons={}, examples={})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected a folder of shards with a dataset.json, or of tars, found none"),
        ({"plan.json": "{}"}, "not finished"),
        ({"dataset.json": "{"}, "dataset.json: expected the totals of a shard set, found something else"),
        ({"dataset.json": "[]"}, "dataset.json: expected the totals of a shard set, found something else"),
        ({"dataset.json": '{"shards": [{"name": "x"}]}'}, "expected the totals of a shard set"),
        ({"dataset.json": EMPTY.model_dump_json()}, "holds no samples"),
    ],
)
def test_a_folder_that_is_no_shard_set_is_refused_with_a_sentence(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ShardSetError, match=message):
        ShardSet.open(str(tmp_path))


def test_audio_shorter_than_the_features_ask_for_is_said(shards):
    features = FeatureSettings.model_validate(FEATURES | {"audio_samples": 5000})
    loader = Loader(plan_reading(str(shards), features, DataSettings(workers=0), 0, augment=False), 4)
    with pytest.raises(ShardSetError, match="expected 5000 audio samples at 11025 Hz as the features ask for"):
        loader.read(range(4))


def test_validation_shares_cover_each_sample_once(shards):
    loader = Loader(plan_of(shards, augment=False), 8)
    keys = [
        key for rank in range(3) for batch in loader.batches(shares_of_validation(37, 8, rank, 3)) for key in batch.keys
    ]
    assert len(set(keys)) == len(keys) == 37


def test_places_are_remembered_for_as_many_samples_as_asked(tmp_path):
    folder = write_shard_set(tmp_path, samples=40)
    shards = ShardSet.open(str(folder))
    few = ShardSet(shards.url, shards.shards, kept_samples=16)
    for index in (0, 39, 8, 20, 1):
        assert few.read(index).key == shards.read(index).key == f"video{index}-000"
    assert len(few._indexes) <= 3


def test_batches_that_are_kept_stay_what_they_were(shards, expected):
    """Tensors share memory with the workers as long as few are kept."""
    with Loader(plan_of(shards, workers=1, prefetch=1), BATCH) as loader:
        kept = list(loader.batches(steps_of(loader.plan, 0, STEPS, BATCH, BATCH, 0, 1)))
        assert_same(kept, expected)
        batches = loader.batches(steps_of(loader.plan, 0, STEPS, BATCH, BATCH, 0, 1))
        again = [batch.tensors["frames"].clone() for batch in batches]
    assert torch.equal(torch.cat(again), contents(expected)[1])
    assert_same(kept, expected)  # also when the workers have filled every slot again, and are gone


def test_a_batch_that_is_dropped_before_the_next_is_asked_for_is_never_a_copy(shards):
    """A GPU copies faster from the workers' own memory, which is pinned, also where few batches are kept ready."""

    def is_a_slot(batch):
        frames = batch.tensors["frames"].numpy()
        return any(np.shares_memory(frames, slot.fields["frames"]) for slot in loader._slots)

    with Loader(plan_of(shards, workers=1, prefetch=1), BATCH) as loader:
        slots = list(map(is_a_slot, loader.batches(steps_of(loader.plan, 0, STEPS, BATCH, BATCH, 0, 1))))
    assert len(slots) > 2
    assert all(slots)
