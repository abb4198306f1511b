"""What a process does to save and to go on does not grow with the number of processes: counted with simulated ones,
which share states out as ZeRO 1 and ZeRO 3 do and write, report and read by the real code."""

import json
import threading
from collections import Counter

import pytest
import torch

from cluster import storage
from cluster.process_group import ProcessGroup
from pipeline.train.checkpoints import share_reader
from pipeline.train.checkpoints.model_weights import read_weights
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.engine.fragments import MASTER
from simulated_ranks import fragments, number_of, parameters, save


class Counted:
    """Files opened, and bytes read, by what storage is asked for."""

    def __init__(self, patch):
        self.opens, self.bytes, self.lock = Counter(), 0, threading.Lock()
        read, fill = storage.read_parts, storage.fill_parts

        def reading(parts, readers):
            return read((self.count(part, part[2]) for part in parts), readers)

        def filling(parts, readers):
            return fill((self.count(part, sum(map(len, part[2]))) for part in parts), readers)

        patch.setattr(storage, "read_parts", reading)
        patch.setattr(storage, "fill_parts", filling)

    def count(self, part, size):
        with self.lock:
            self.opens[part[0].rsplit("/", 1)[-1]] += 1
            self.bytes += size
        return part


def going_on(checkpoint, ranks, rank, stage, patch):
    """What a process reads to go on from a checkpoint with what it holds: requests, files, bytes."""
    counted = Counted(patch)
    saved = SavedState(checkpoint)
    held = list(fragments(ranks, rank, stage, lambda name, kind, low, high: torch.zeros(high - low)))
    saved.read(
        wish
        for one in held
        for kind, into in one.kinds.items()
        for wish in saved.wishes(one.name, kind, one.start, into)
    )
    for one in held:
        for kind, into in one.kinds.items():
            assert torch.equal(into, number_of(one.name, kind, one.start, one.start + one.size))
    return sum(counted.opens.values()), len(counted.opens), counted.bytes


@pytest.mark.parametrize("stage", [1, 3])
def test_opens_and_bytes_of_a_process_are_the_same_for_4_and_for_100(tmp_path, monkeypatch, stage):
    found = {}
    for ranks in (4, 100):
        checkpoint = save(tmp_path / str(ranks), ranks, stage)
        with monkeypatch.context() as patch:
            found[ranks] = going_on(checkpoint, ranks, ranks - 2, stage, patch)
    few, many = found[4], found[100]
    assert many[:2] == few[:2] == (2, 1)  # the header, and all else at one go
    assert many[2] <= 1.1 * few[2]


@pytest.mark.parametrize("stages", [(1, 3), (3, 1)])
def test_states_of_many_processes_go_to_few_that_share_them_out_otherwise(tmp_path, monkeypatch, stages):
    before, after = stages
    checkpoint = save(tmp_path, 24, before)
    shapes = parameters(24)
    monkeypatch.setattr("simulated_ranks.parameters", lambda ranks: shapes)
    opened = []
    for rank in range(5):
        with monkeypatch.context() as patch:
            _, files, _ = going_on(checkpoint, 5, rank, after, patch)
        opened.append(files)
    if (before, after) == (3, 1):
        assert max(opened) == 24  # each of five reads a stretch of all
    weights = read_weights(checkpoint)
    assert weights.keys() == shapes.keys()
    for name, numbers in weights.items():
        assert torch.equal(numbers.flatten(), number_of(name, MASTER, 0, numbers.numel()))


class Together(ProcessGroup):
    """One of many processes, a thread each, which meet in a broadcast."""

    def broadcast(self, values, source):
        meeting = self.store
        if self.rank == source:
            meeting.content = values
        meeting.wait()
        if self.rank != source:
            values.copy_(meeting.content)
        meeting.wait()

    def first_of_each_machine(self):
        return list(range(0, self.world_size, self.world_size // self.nodes))

    def each(self, make):
        return make()


@pytest.mark.parametrize(("machines", "ranks"), [(1, 4), (2, 4), (4, 32)])
def test_what_all_processes_hold_is_read_once_for_all_of_them(tmp_path, monkeypatch, machines, ranks):
    """As at ZeRO 0, and as weights that a run starts from."""
    checkpoint, shapes = save(tmp_path, 24, 1), parameters(24)
    monkeypatch.setattr("simulated_ranks.parameters", lambda ranks: shapes)
    monkeypatch.setattr(share_reader, "AT_ONCE", 128 << 10)
    counted, meeting, found = Counted(monkeypatch), threading.Barrier(ranks), {}

    def process(rank):
        group = Together(rank, rank % (ranks // machines), ranks, torch.device("cpu"), machines, store=meeting)
        found[rank] = read_weights(checkpoint, group=group)

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for weights in found.values():
        for name, numbers in weights.items():
            assert torch.equal(numbers.flatten(), number_of(name, MASTER, 0, numbers.numel()))
    assert len(found) == ranks
    # 24 files, in a few parts each, and a header each for every machine that reads of it
    assert sum(counted.opens.values()) <= 24 * (2 + machines)
    assert counted.bytes <= 1.2 * 4 * sum(torch.Size(shape).numel() for shape in shapes.values()) + (64 << 10) * 24


def test_a_manifest_does_not_grow_with_parameters_times_processes(tmp_path):
    rows = {}
    for ranks in (4, 100):
        manifest = save(tmp_path / str(ranks), ranks, 3).manifest
        rows[ranks] = sum(len(entry["held"]) for entry in manifest["tensors"].values())
        assert len(json.dumps(manifest)) < 40_000 + 600 * ranks
    assert rows[100] <= 4 * rows[4]
