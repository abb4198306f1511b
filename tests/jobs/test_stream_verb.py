"""`gavt stream`: what it prints, what it gives to programs, and what it says of wrong input."""

import json
from pathlib import Path

import pytest

from jobs import cli
from tiny_shards import AUDIO_SAMPLES, write_shard_set


def run_here(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard_set(tmp_path_factory.mktemp("stream") / "shards", samples=48)


def test_simulate_prints_a_table_and_advice_for_a_planned_job(capsys):
    words = ("--shards", "100", "--nodes", "4", "--ranks", "2", "--batch-size", "64", "--set", "data.lanes=2")
    code, out, _ = run_here(capsys, "stream", "simulate", *words)
    assert code == 0
    assert "100000 samples, 12 GB" in out
    assert "4 nodes × 2 ranks, 8 samples a rank a step" in out
    assert "2 lanes are fewer than nodes; set data.lanes to a multiple of 4" in " ".join(out.split())


def test_simulate_gives_programs_one_object(capsys, shards):
    code, out, _ = run_here(capsys, "stream", "simulate", str(shards), "--epochs", "3", "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0
    assert found["samples"] == 48
    assert found["set_bytes"] == sum(tar.stat().st_size for tar in shards.glob("*.tar"))
    assert [epoch["times"] for epoch in found["epochs"]] == [1.0, 0.0, 0.0]
    assert "after the first epoch nothing is downloaded" in found["advice"]


def test_bench_measures_stages_and_workers_and_takes_the_sound_as_it_is(capsys, shards):
    code, out, err = run_here(capsys, "stream", "bench", str(shards), "--seconds", "0.5", "--batch-size", "8", "--json")
    found = json.loads(out.splitlines()[-1])
    assert code == 0
    assert found["samples"] == 48
    stages = ["order", "index", "read", "check", "parse", "frames", "sound", "assemble"]
    assert list(found["stages_ms"]) == stages
    assert all(found["stages_ms"][stage] > 0 for stage in stages)
    assert [run["workers"] for run in found["runs"]][:2] == [0, 1]
    assert all(run["samples_per_s"] > 0 and run["samples"] > 0 for run in found["runs"])
    places = [place for file in shards.glob("shard-*.json") for place in json.loads(file.read_text())["samples"]]
    # the last epoch that was measured may be a part of one
    assert found["sample_bytes"] == pytest.approx(sum(place["bytes"] for place in places) / 48, rel=0.02)
    assert "samples/s" in err
    assert found["advice"] in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "/nowhere"], "/nowhere: expected a folder of shards"),
        (
            ["bench", "SHARDS", "--set", f"features.audio_samples={2 * AUDIO_SAMPLES + 1}"],
            f"{2 * AUDIO_SAMPLES + 1} audio samples",
        ),
        (["bench", "SHARDS", "--set", "data.workerz=1"], "data has no key 'workerz'; did you mean 'workers'?"),
        (["simulate", "/nowhere"], "/nowhere: expected a folder of shards"),
        (["simulate", "--nodes", "3", "--batch-size", "64"], "expected a multiple of 3 nodes × 1 ranks, found 64"),
        (["simulate", "--set", "data.lanes=0"], "data.lanes: expected greater than 0"),
        (["simulate", "--config", "nowhere.yaml"], "nowhere.yaml: no such settings file"),
    ],
)
def test_wrong_input_ends_with_one_sentence(capsys, shards, words, message):
    words = [str(shards) if word == "SHARDS" else word for word in words]
    code, _, err = run_here(capsys, "stream", *words)
    sentences = [line for line in err.splitlines() if line.startswith("gavt: ")]
    assert code == 2
    assert len(sentences) == 1
    assert message in sentences[0]
