"""One way through the samples: each is decoded once for all that is judged, by any number of processes and workers."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster import storage
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.contract import tables_of
from pipeline.evaluate.registry import AlignmentSettings, LocalisationSettings
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.stream import reader
from pipeline.tasks.mma import MultiModalAlignment
from tiny_run import located_rows, tiny_experiment, write_run, write_shards

REPOSITORY = Path(__file__).parents[3]
FEW = ("class_token", "integrated_gradients")
MEASURES = [
    {"kind": "alignment"},
    {"kind": "localisation"},
    {"kind": "retrieval"},
    {"kind": "probe", "decays": [1.0]},  # which learns from the run's training set
    {"kind": "embeddings"},
]


def gavt_evaluate(run: str, data: str, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    readouts = f"evaluate.readouts=[{', '.join(FEW)}]"
    command = ["evaluate", run, "--data", data, "--out", str(out), "--set", readouts, *words]
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *command, "--set", "evaluate.examples=5"],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_each_sample_is_decoded_once_for_all_rows_and_measures(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[str] = Counter()
    decode = reader.decode_sample

    def counted(sample: Any, *words: Any) -> Any:
        decoded[sample.metadata.video] += 1
        return decode(sample, *words)

    monkeypatch.setattr(reader, "decode_sample", counted)
    settings = EvaluateSettings(readouts=FEW, batch_size=4)
    assert settings.judged_geometry != settings.shown_geometry  # maps and alignment see other squares of it
    result = evaluate(run, located_shards, validation_shards, str(tmp_path), settings)
    assert [table.measure for table in tables_of(result)] == [
        "alignment",
        "localisation",
        "off_screen",
        "off_screen_sweep",
    ]
    assert set(decoded.values()) == {1}
    assert len(decoded) == 12 + 10


def test_figures_are_the_same_on_one_and_two_processes_and_any_number_of_workers(
    validation_shards: str, tmp_path: Path, one_thread: None
) -> None:
    data = write_shards(tmp_path / "shards", [*located_rows(131), {"labels": ["drum"]}], seed=3)  # two chunks
    run = write_run(tmp_path / "run", tiny_experiment(data, validation_shards))
    settings = EvaluateSettings.model_validate({"readouts": FEW, "examples": 5, "measures": MEASURES})
    evaluate(run, data, validation_shards, str(tmp_path / "alone"), settings)
    words = (
        "--set",
        f"evaluate.measures={json.dumps(MEASURES)}",
        "--set",
        "evaluate.workers=1",
        "--nproc",
        "2",
        "--json",
    )
    two = gavt_evaluate(run, data, tmp_path / "two", *words)
    assert two.returncode == 0, two.stderr
    for file in ("evaluation.json", "evaluation_scores.npz", "evaluation_embeddings.npz"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "alone" / file).read_bytes()
    result = json.loads(two.stdout.splitlines()[-1])
    assert len(two.stdout.splitlines()) == 1  # of one process
    details = {row["name"]: row["details"] for row in result["tables"][1]["rows"]}
    assert details["integrated_gradients"]["completeness"]["maps"] == 131  # sums of floats
    of_two, of_one = (dict(np.load(tmp_path / name / "evaluation_maps.npz")) for name in ("two", "alone"))
    assert of_one["keys"].tolist() == [f"sample-{number:04d}" for number in range(5)]
    assert all(np.array_equal(of_one[name], of_two[name]) for name in of_one)


def test_a_damaged_sample_that_one_process_meets_ends_both_with_one_sentence(
    validation_shards: str, tmp_path: Path
) -> None:
    rows = [{**row, "audio_samples": 4095} for row in located_rows(130)]
    folder = Path(write_shards(tmp_path / "shards", rows, seed=4))
    tar = folder / "shard-000000.tar"
    content = bytearray(tar.read_bytes())
    content[content.index(b"fLaC") : content.index(b"fLaC") + 4] = b"XXXX"
    tar.write_bytes(content)
    run = write_run(tmp_path / "run", tiny_experiment(None, None))
    ended = gavt_evaluate(run, str(folder), tmp_path / "out", "--nproc", "2")
    assert ended.returncode == 2, ended.stderr
    (sentence,) = ended.stderr.strip().splitlines()
    assert sentence.startswith(f"gavt: {folder}: sample-0000: ")
    assert not (tmp_path / "out/evaluation.json").exists()


@pytest.mark.slow
def test_processes_read_the_checkpoint_of_a_remote_run_together(
    located_shards: str, tmp_path: Path, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Path(write_run(tmp_path / "run", tiny_experiment(None, None)))
    for file in storage.list_files(local):
        storage.upload(file.url, f"{s3_bucket}/run/{storage.name_below(local, file)}")
    with FaultyProxy(s3_server.endpoint, share=0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        asked = []
        for processes in ("1", "2"):
            ended = gavt_evaluate(f"{s3_bucket}/run", located_shards, tmp_path / processes, "--nproc", processes)
            assert ended.returncode == 0, ended.stderr
            requests, proxy.requests[:] = list(proxy.requests), []
            asked.append(Counter((one.method, one.path) for one in requests if "checkpoints" in one.path))
    assert asked[0] == asked[1]


def test_of_an_objective_without_a_score_the_rest_is_judged_and_it_is_said_why(
    run: str, located_shards: str, validation_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MultiModalAlignment, "scores", False)
    asked = (AlignmentSettings(), LocalisationSettings())
    settings = EvaluateSettings(measures=asked, readouts=("attention", "gradient_weighted", "occlusion"))
    result = evaluate(run, located_shards, validation_shards, str(tmp_path), settings)
    (table,) = tables_of(result)
    why = "the objective mma gives no score of whether frame and sound belong together"
    no_answer = "the objective mma doesn't say whether frame and sound belong together"
    assert result["left_out"] == [f"alignment is left out: {no_answer}"]
    assert [row.name for row in table.rows if row.kind == "readout"] == ["attention"]
    assert table.details["readout"] == "attention"
    for name in ("gradient_weighted", "occlusion"):
        assert f"readout {name} is left out: {why}" in table.notes


def test_without_any_measure_that_can_be_had_there_is_nothing_to_judge(
    run: str, located_shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MultiModalAlignment, "scores", False)
    settings: Mapping[str, Any] = {"measures": [{"kind": "alignment"}]}
    with pytest.raises(Exception, match=r"evaluate\.measures: expected one that can be had, but alignment is left out"):
        evaluate(run, located_shards, None, str(tmp_path), EvaluateSettings.model_validate(settings))
    assert not (tmp_path / "evaluation.json").exists()
