"""gavt evaluate, localize and report from the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.tasks.mma_settings import MmaSettings
from small_video import write_video
from tiny_run import located_rows, tiny_experiment, tiny_separator, write_run, write_shards
from unprivileged import read_only

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shards`, `run`, `separator` and `video.mp4`."""
    folder = tmp_path_factory.mktemp("world")
    shards = write_shards(folder / "shards", located_rows(8))
    write_run(folder / "run", tiny_experiment(shards, shards))
    write_run(folder / "separator", tiny_separator())
    coarse = tiny_experiment(shards, shards).model_copy(update={"evaluate": EvaluateSettings(map_size=32)})
    write_run(folder / "coarse", coarse)
    write_video(folder / "video.mp4")
    return folder


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    def run(*words: str) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


def test_evaluate_prints_a_table_with_the_controls_and_json_for_programs(world: Path, say: Say) -> None:
    few = ("--set", "evaluate.readouts=[attention, class_token]")
    code, out, _ = say("evaluate", world / "run", "--data", world / "shards", *few)
    assert code == 0
    rows = ("class_token", "centre disc", "shuffled audio", "oracle ceiling", "multi-modal alignment")
    how = (
        "called a match",
        "silence is called a match in",
        "the whole frame, squashed to a square (evaluate.geometry=squash), resized with align_corners off",
        "alignment is judged on the centre square of the frame; training saw square crops",
        "warning: 8 of 8 samples are also in the validation split",  # the run's own is what is judged here
    )
    for word in (*rows, *how):
        assert word in out
    assert "label-aided" not in out
    assert "label-free: the objective of training looked at no label" in out
    assert "coverage: " in out
    for ending in ("csv", "tex"):
        assert "centre disc" in (world / f"run/evaluation.{ending}").read_text()
    code, out, _ = say("evaluate", world / "run", "--data", world / "shards", *few, "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert result["out"] == str(world / "run")  # by default beside the checkpoint
    assert result["validation"] == str(world / "shards")  # by default the run's own
    assert (world / "run" / "evaluation.json").exists()


def test_several_runs_are_judged_with_mean_spread_and_the_single_values(world: Path, say: Say, tmp_path: Path) -> None:
    shards = str(world / "shards")
    runs = [write_run(tmp_path / f"seed{seed}", tiny_experiment(shards, shards), seed=seed) for seed in range(3)]
    few = ("-s", "evaluate.readouts=[class_token]", "-s", "evaluate.measures=[{kind: localisation}]")
    code, out, err = say("evaluate", *runs, "--data", shards, "--out", tmp_path / "together", *few, "--json")
    assert code == 0
    assert "± is half of the 95 % interval of the mean over 3 runs, by Student's t" in err
    assert f"seed0 (step 30), seed1 (step 30), seed2 (step 30); 8 samples of {shards} → {tmp_path}/together" in err
    result = json.loads(out.splitlines()[-1])
    assert result == json.loads((tmp_path / "together/evaluations.json").read_text()) | {
        "out": str(tmp_path / "together")
    }
    head = (tmp_path / "together/evaluations.csv").read_text().splitlines()[0]
    assert head.endswith(",samples,seed0,seed1,seed2")
    assert r"means of 3 runs $\pm$ half of the 95 \% interval" in (tmp_path / "together/evaluations.tex").read_text()
    own = [json.loads((Path(run) / "evaluation.json").read_text())["tables"][0]["rows"] for run in runs]
    for place, row in enumerate(result["tables"][0]["rows"]):
        for column, values in row["of_runs"].items():
            assert values == [rows[place]["values"][column] for rows in own]
            assert row["values"][column] == pytest.approx(sum(values) / 3)
    assert say("report", *runs, "--out", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert all(f"{run}" in page for run in runs)
    assert "Over 8 samples" in page
    assert "over 3 runs, by Student&#39;s t" in page
    assert "seed0: no metrics.jsonl, so no curves and settings." in page
    code, out, err = say("compare", runs[0], runs[1], "--against", runs[2], "--against", runs[2], "--json")
    assert code == 0
    assert "two-sided p by a paired bootstrap (10,000 draws, seed 0) of the images or videos" in err
    differences = {one["column"]: one for one in json.loads(out.splitlines()[-1])["differences"]}
    assert list(differences) == ["pointing", "ciou", "auc", "ciou_adap", "iiou", "iiou_adap"]
    (model,) = (row["of_runs"] for row in result["tables"][0]["rows"] if row["name"] == "model")
    for column, found in differences.items():
        first, second, third = model[column]
        assert found["difference"] == pytest.approx((first + second) / 2 - third)
        assert found["low"] <= found["difference"] <= found["high"]
        of_images = column.startswith("iiou")
        assert (found["samples"], found["clusters"], found["left_out"]) == (4 if of_images else 8, 4, 0)


def test_how_many_passes_a_map_takes_stands_beside_its_figures(world: Path, say: Say) -> None:
    words = ("evaluate", world / "run", "--data", world / "shards", "-s", "evaluate.max_samples=2")
    words += ("-s", "evaluate.readouts=[attention_silence, class_token, integrated_gradients]", "--json")
    code, out, err = say(*words)
    assert code == 0
    assert "passes a map" in err
    assert "9 to 129 forward and backward" in err
    (table,) = (one for one in json.loads(out.splitlines()[-1])["tables"] if one["measure"] == "localisation")
    costs = {row["name"]: row["cost"] for row in table["rows"]}
    assert costs["attention_silence"] == "2 forward"
    assert costs["class_token"] == "1 forward"
    assert costs["model"] == costs[table["details"]["readout"]] == costs["shuffled audio"]
    assert costs["centre disc"] is costs["image saliency"] is None


def test_label_aided_figures_are_called_so_in_table_json_and_page(world: Path, say: Say, tmp_path: Path) -> None:
    task = MmaSettings(negatives="unlike")
    shards = str(world / "shards")
    run = write_run(tmp_path / "run", tiny_experiment(shards, None).model_copy(update={"task": task}))
    words = ("evaluate", run, "--data", shards, "-s", "evaluate.readouts=[class_token]", "--json")
    code, out, err = say(*words)
    assert code == 0
    assert "label-aided: class names chose" in err
    assert json.loads(out.splitlines()[-1])["label_aided"].startswith("label-aided: class names chose")
    localize = ("localize", world / "video.mp4", "--checkpoint", run, "--out", tmp_path / "maps", "--every", "1")
    code, out, err = say(*localize, "--readout", "class_token", "--json")
    assert code == 0
    assert "label-aided: class names chose" in err
    assert json.loads(out.splitlines()[-1])["label_aided"].startswith("label-aided: class names chose")
    assert say("report", run)[0] == 0
    page = Path(run, "report.html").read_text()
    assert "<b>Label-aided</b>: class names chose" in page
    assert "pointing accuracy, label-aided" in page
    assert "silence is called a match in" in page


def test_localize_says_what_it_wrote(world: Path, say: Say, tmp_path: Path) -> None:
    words = (
        "localize",
        world / "video.mp4",
        "--checkpoint",
        world / "run",
        "--out",
        tmp_path,
        "--every",
        "1",
        "--json",
    )
    code, out, _ = say(*words)
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert result["moments"] == 3
    assert all(Path(result[name]).stat().st_size for name in ("overlay", "strip", "maps"))


def test_separate_says_what_it_wrote(world: Path, say: Say, tmp_path: Path) -> None:
    clicks = tmp_path / "clicks.jsonl"
    clicks.write_text('{"name": "drum", "x": 0.4, "y": 0.5}')
    places = ("--at", "0.5,0.5", "--box", "violin=0.3,0.2,0.6,0.8", "--clicks", clicks)
    how = ("--format", "flac", "--overlay", "1", "--out", tmp_path / "out")
    code, out, _ = say("separate", world / "video.mp4", "--checkpoint", world / "separator", *places, *how, "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert [place["name"] for place in result["places"]] == ["place_1", "violin", "drum"]
    files = [place["file"] for place in (*result["places"], result["rest"])] + [result["strip"], result["overlay"]]
    assert sorted(files) == sorted(
        str(tmp_path / "out" / name)
        for name in ("place_1.flac", "violin.flac", "drum.flac", "rest.flac", "strip.png", "overlay.mp4")
    )
    assert all(Path(name).stat().st_size for name in files)
    assert json.loads((tmp_path / "out" / "separate.json").read_text()) == result


@pytest.mark.parametrize(
    "words",
    [
        "evaluate {0}/run --data {0}/shards",
        "evaluate {0}/run --data {0}/shards --json",
        "localize {0}/video.mp4 --checkpoint {0}/run --out {0}/run/new --json",
        "separate {0}/video.mp4 --checkpoint {0}/separator --all --out {0}/run/new --json",
        "report {0}/run",
        "report {0}/run --out {0}/run/new/page.html --json",
        "inspect {0}/run/shards",
        "inspect {0}/shards --html {0}/run/page.html",
        "checkpoint export {0}/run --out {0}/run/new --json",
    ],
)
def test_a_place_that_can_not_be_written_to_is_said_before_the_work(
    world: Path, say: Say, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    (world / "run/shards").exists() or shutil.copytree(world / "shards", world / "run/shards")
    for place in (
        "pipeline.evaluate.evaluate.load_trained",
        "pipeline.evaluate.overlay.localize.load_trained",
        "pipeline.evaluate.separating.separate.load_trained",
        "pipeline.evaluate.report.report._render",
        "pipeline.inspect.summary.summarise",
        "cluster.storage.sha256",
    ):
        monkeypatch.setattr(place, work)
    with read_only(world / "run"):
        code, out, err = say(*words.format(world).split())
    assert (code, out.strip()) == (2, "")
    (sentence,) = err.strip().splitlines()
    assert sentence.startswith(f"gavt: {world}/run")
    assert "not allowed to write to it" in sentence


def test_figures_are_shown_though_they_can_not_be_written_in_the_end(world: Path, say: Say, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json/in-the-way").mkdir(parents=True)
    words = (
        world / "run",
        "--data",
        world / "shards",
        "--out",
        tmp_path,
        "-s",
        "evaluate.readouts=[attention]",
    )
    code, out, err = say("evaluate", *words)
    assert code == 2
    assert "centre disc" in out
    assert err.splitlines()[-1].startswith(f"gavt: {tmp_path}/evaluation.json: can't write it")
    code, out, _ = say("evaluate", *words, "--json")
    assert code == 2
    assert json.loads(out.splitlines()[-1])["samples"] == 8


def test_report_says_where_the_page_is(world: Path, say: Say, tmp_path: Path) -> None:
    code, out, _ = say("report", world / "run", "--out", tmp_path / "page.html", "--json")
    assert code == 0
    assert Path(json.loads(out.splitlines()[-1])["report"]).read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("evaluate {0}/none --data {0}/shards", "none: expected a run folder or a checkpoint"),
        ("evaluate {0}/run {0}/separator --data {0}/shards", "expected --out, the folder of what 2 runs say together"),
        ("evaluate {0}/run {0}/run --data {0}/shards --out {0}/o", "run: expected a folder of its own for each run"),
        ("evaluate {0}/run --data {0}/none", "none: expected a folder of shards with a dataset.json"),
        ("evaluate {0}/run --data {0}/shards --validation {0}/no", "gavt: {0}/no: expected a folder of shards"),
        (
            "evaluate {0}/run --data {0}/shards -s data.validation={0}/moved",
            "data.validation: {0}/moved: expected a folder of shards with a dataset.json, or of tars, found none; --va",
        ),
        (
            "evaluate {0}/run --data {0}/shards -s evaluate.batchsize=3",
            "evaluate has no key 'batchsize'; did you mean 'batch_size'?",
        ),
        ("evaluate {0}/run --data {0}/shards -s evaluate.batch_size=0", "greater than 0, found 0"),
        (
            "evaluate {0}/run {0}/coarse --data {0}/shards --out {0}/o",
            "coarse/config.yaml: evaluate.map_size: expected 224 as in {0}/run/config.yaml, for runs are judged in one",
        ),
        ("evaluate {0}/run --data {0}/shards --config {0}/no.yaml", "no.yaml: no such settings file"),
        ("localize {0}/run/config.yaml --checkpoint {0}/run --out {0}/o", "config.yaml: not a media file"),
        ("localize {0}/gone.mp4 --checkpoint {0}/run --out {0}/o", "gone.mp4: no such file"),
        ("localize {0}/video.mp4 --checkpoint {0}/shards --out {0}/o", "shards: expected a run folder"),
        ("localize {0}/video.mp4 --checkpoint {0}/run --out {0}/o --readout x", "readout: expected one of"),
        (
            "separate {0}/video.mp4 --checkpoint {0}/run --at 0.5,0.5 --out {0}/o",
            "but it needs a model that was trained by",
        ),
        ("separate {0}/video.mp4 --checkpoint {0}/separator --out {0}/o", "expected places by --at, --box or --clicks"),
        ("separate {0}/video.mp4 --checkpoint {0}/separator --at 5,7 --out {0}/o", "--at 5,7: expected a place inside"),
        ("separate {0}/video.mp4 --checkpoint {0}/separator --at 0,0 --out {0}/o", "a place that the model sees"),
        ("separate {0}/video.mp4 --checkpoint {0}/separator --clicks {0}/no --out {0}/o", "no: no such file"),
        ("separate {0}/run/config.yaml --checkpoint {0}/separator --all --out {0}/o", "config.yaml: not a media file"),
        ("report {0}/shards", "shards: expected a run folder"),
        ("report {0}/run {0}/coarse", "gavt report: expected --out, the page's path, for 2 runs"),
        ("report {0}/coarse {0}/coarse --out {0}/o", "coarse/evaluation.json: no such file; gavt evaluate writes it"),
        ("compare {0}/coarse --against {0}/shards", "coarse/evaluation.json: no such file; gavt evaluate writes it"),
    ],
)
def test_wrong_input_ends_with_one_sentence_and_exit_code_2(words: str, sentence: str, world: Path, say: Say) -> None:
    code, out, err = say(*words.format(world).split())
    assert code == 2
    message = err.strip().splitlines()[-1]
    assert message.startswith("gavt: ")
    assert sentence.format(world) in message
    assert "Traceback" not in out + err
