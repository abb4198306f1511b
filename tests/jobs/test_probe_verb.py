"""gavt probe from the command line."""

import json
from pathlib import Path

import pytest

from jobs.cli import main
from tiny_run import located_rows, tiny_experiment, write_run, write_shards

FEW = ("--seeds", "2", "--steps", "20", "--variant", "audio_to_visual")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("probe")
    counts = {"train": 16, "validation": 8, "test": 10}
    return {name: write_shards(folder / name, located_rows(n), seed=n) for name, n in counts.items()}


@pytest.fixture
def run(tmp_path: Path, sets: dict[str, str]) -> str:
    return write_run(tmp_path / "run", tiny_experiment(sets["train"], sets["validation"]))


def said(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        main(["probe", "retrieval", *words])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_it_prints_a_table_a_variant_and_writes_beside_the_runs_own_evaluation(
    run: str, sets: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    (Path(run) / "evaluation.json").write_text("kept")
    code, out, err = said(capfd, run, "--data", sets["test"], *FEW, "--json")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    assert [table["measure"] for table in result["tables"]] == ["retrieval_head_audio_to_visual"]
    for words in ("retrieval by a trained head", "encoded together", "TriBERT (NeurIPS 2021)", "guess"):
        assert words in err
    assert f"learnt from 16 samples of {sets['train']}, 20 steps of 64" in err
    folder = Path(run) / "retrieval_probe"
    assert result["out"] == str(folder)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert written.keys() == {"evaluation.json", "evaluation.csv", "evaluation.tex", "evaluation_scores.npz"}
    assert (Path(run) / "evaluation.json").read_text() == "kept"
    code, _, _ = said(capfd, run, "--data", sets["test"], *FEW)
    assert code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written


def test_several_runs_are_probed_with_mean_and_spread_as_their_settings_say(
    run: str, sets: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = write_run(tmp_path / "other", tiny_experiment(sets["train"], sets["validation"]), seed=2)
    heads = (
        f"evaluate.measures=[{{kind: retrieval_head, steps: 3, seeds: 1, batch_size: 7, train: {sets['validation']}}}]"
    )
    words = ("--data", sets["test"], "--out", str(tmp_path / "together"), "--set", heads, "--json")
    code, out, err = said(capfd, run, other, *words)
    assert code == 0
    assert f"learnt from 8 samples of {sets['validation']}, 3 steps of 7" in err
    tables = json.loads(out.splitlines()[-1])["tables"]
    assert [table["measure"] for table in tables] == [
        "retrieval_head_visual_to_audio",
        "retrieval_head_audio_to_visual",
    ]
    model = tables[0]["rows"][0]
    assert len(model["of_runs"]["first"]) == 2
    assert (Path(other) / "retrieval_probe" / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--variant", "pose_to_audio"),
            "retrieval_head.variants: expected one of visual_to_audio, audio_to_visual, found 'pose_to_audio'",
        ),
        (("--train", "nowhere"), "nowhere"),
        (("--set", "evaluate.measures=[{kind: retrieval_head, steps: 0}]"), "steps"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_nothing_written(
    words: tuple[str, ...], sentence: str, run: str, sets: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capfd, run, "--data", sets["test"], *words)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert not (Path(run) / "retrieval_probe").exists()
