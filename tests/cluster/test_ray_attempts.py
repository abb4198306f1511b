"""What a job's process on the head of a Ray cluster decides."""

from pathlib import Path

import pytest

from cluster.launchers.ray import bundle
from cluster.launchers.ray_attempts import count_with, node_counts
from cluster.launchers.ray_watch import exit_code_of
from small_job import small_job


@pytest.mark.parametrize(
    ("nodes", "each", "sizes", "counts"),
    [(4, 2, None, [4, 3, 2, 1]), (4, 2, (1, 2, 4, 8), [4, 2, 1]), (3, 4, (1, 2, 12), [3]), (1, 1, (1,), [1])],
)
def test_a_job_goes_on_with_as_many_nodes_as_its_work_can_be_shared_among(tmp_path: Path, nodes, each, sizes, counts):
    resources = {"nodes": nodes, "processes_per_node": each}
    assert node_counts(small_job(tmp_path, "", resources=resources, world_sizes=sizes).record) == counts


@pytest.mark.parametrize(
    ("here", "free", "count"),
    [
        (1, [], 1),
        (1, [{"CPU": 3.0}], 1),  # two would be four ranks, among which the work can't be shared
        (1, [{"CPU": 2.0}, {"CPU": 3.0, "GPU": 1.0}], 3),
        (1, [{"CPU": 4.0}], 3),
        (1, [{"GPU": 8.0}], 1),
        (3, [{"CPU": 64.0}], 4),
    ],
)
def test_a_job_with_fewer_nodes_takes_as_many_as_come_and_can_be_of_use(tmp_path: Path, here, free, count) -> None:
    resources = {"nodes": 4, "processes_per_node": 2}
    record = small_job(tmp_path, "", resources=resources, world_sizes=(1, 2, 6, 8)).record
    assert count_with(record, here, free) == count


@pytest.mark.parametrize(
    ("codes", "code"), [([0, 0], 0), ([0, 75], 75), ([75, 137], 137), ([130, 75, 1], 1), ([137, 2, 75], 2), ([], 0)]
)
def test_wrong_input_says_more_than_a_crash_and_a_crash_more_than_leaving(codes, code) -> None:
    assert exit_code_of(codes) == code


def test_what_is_reserved_for_a_node_has_a_cpu_a_process_and_its_gpus(tmp_path: Path) -> None:
    resources = {"nodes": 2, "processes_per_node": 8, "gpus_per_node": 8}
    assert bundle(small_job(tmp_path, "", resources=resources).record) == {"CPU": 8.0, "GPU": 8.0}
