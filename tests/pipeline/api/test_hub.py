"""Models to and from the Hugging Face Hub; see `hub_server` for what stands in for it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pipeline.api as gavt
from hub_server import Hub, running_hub
from small_video import write_video
from tiny_run import tiny_experiment, write_run

ID = "someone/tiny"


def table() -> dict[str, Any]:
    columns = [{"name": "share", "title": "right", "unit": "share", "higher_is_better": True}]
    rows = [
        {"name": "model", "kind": "model", "values": {"share": 0.75}, "spread": {"share": 0.05}},
        {"name": "a|wrong sound", "kind": "control", "values": {"share": 0.25}, "spread": {}},
        {"name": "the boxes", "kind": "ceiling", "values": {"share": None}, "spread": {}},
    ]
    rows = [{"made_by": None, "cost": None, "details": {}, "of_runs": {}, **row} for row in rows]
    named = {"measure": "localisation", "title": "pointing", "about": "", "notes": ["by hand"], "warnings": []}
    more = {"headlines": [], "pictures": [], "details": {"readout": "class_token"}}
    return {**named, "columns": columns, "rows": rows, "samples": 12, **more}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was judged."""
    folder = tmp_path_factory.mktemp("hub") / "run"
    write_run(folder, tiny_experiment())
    evaluation = {
        "tables": [table()],
        "left_out": [],
        "warnings": ["few samples"],
        "samples": 12,
        "coverage": {},
        "label_aided": None,
        "geometry": "centre",
        "alignment_geometry": "centre",
        "training_geometry": "square crops",
        "align_corners": False,
        "checkpoint": "run",
        "step": 30,
        "data": "shards/test",
        "validation": None,
    }
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield running


def test_a_folder_of_a_model_loads_as_the_model_and_by_plain_safetensors(run: Path, tmp_path: Path) -> None:
    model = gavt.load(run, device="cpu")
    model.save_pretrained(tmp_path / "saved", license="apache-2.0")
    again = gavt.Model.from_pretrained(tmp_path / "saved", device="cpu")
    weights = model.trained.system.state_dict()
    for found in (again.trained.system.state_dict(), load_file(tmp_path / "saved" / "model.safetensors")):
        assert all(torch.equal(found[name], weight) for name, weight in weights.items())
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (config["model_type"], config["library_name"], config["step"]) == ("gavt", "gavt", 30)
    assert config["settings"]["model"]["width"] == 16


def test_its_card_has_every_row_of_the_evaluation_controls_and_ceilings_too(run: Path, tmp_path: Path) -> None:
    gavt.load(run, device="cpu").save_pretrained(tmp_path / "saved", license="apache-2.0")
    card = (tmp_path / "saved" / "README.md").read_text()
    head, page = card.removeprefix("---\n").split("---\n", 1)
    assert "library_name: gavt\n" in head
    assert "license: apache-2.0\n" in head
    assert "Few samples." in page
    assert "Label-free: the objective of training looked at no label." in page
    assert "| Model | model | 75.0 ± 5.0 |" in page
    assert "| Controls | a\\|wrong sound | 25.0 |" in page
    assert "| Ceiling | the boxes | – |" in page


def test_what_was_not_judged_says_so(run: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_experiment())
    gavt.load(tmp_path / "run", device="cpu").save_pretrained(tmp_path / "saved")
    assert "It was not: no evaluation.json lay beside it." in (tmp_path / "saved" / "README.md").read_text()
    assert not (tmp_path / "saved" / "evaluation.json").exists()


def test_a_model_that_was_pushed_is_loaded_by_its_name_and_says_the_same(
    run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = gavt.load(run, device="cpu")
    address = model.push_to_hub(ID, private=True)
    assert address.startswith(f"{hub.url}/{ID}/commit/")
    assert hub.created[0]["visibility"] == "private"
    files = hub.files_of(ID)
    expected = {"model.safetensors", "config.json", "config.yaml", "manifest.json", "evaluation.json", "README.md"}
    assert expected <= set(files)
    assert f'gavt.load("{ID}")' in files["README.md"].decode()
    found = gavt.load(ID, device="cpu")
    video = write_video(tmp_path / "video.mp4")
    one, other = model.localize(video), found.localize(video)
    assert other.readout == "class_token"
    np.testing.assert_array_equal(one.maps, other.maps)


def test_names_that_are_nowhere_and_a_hub_that_refuses_are_told_in_a_sentence(
    run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gavt.CheckpointError, match="someone/none: expected a folder, or a model on the Hugging Face"):
        gavt.load("someone/none")
    (tmp_path / "runs").mkdir()
    asked = len(hub.asked)
    with pytest.raises(gavt.UserError, match="runs/none"):
        gavt.load("runs/none")
    assert len(hub.asked) == asked, "a folder that is missing here was looked for on the Hub"
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with monkeypatch.context() as away:
        away.setenv("HF_ENDPOINT", nobody)
        with pytest.raises(gavt.CheckpointError, match="someone/none: expected a folder, .* the Hub does not answer"):
            gavt.load("someone/none")  # who is asked once; work that is under way asks for minutes
    model = gavt.load(run, device="cpu")
    with pytest.raises(gavt.SettingsError, match="repository: expected owner/name, found 'tiny'"):
        model.push_to_hub("tiny")
    with pytest.raises(gavt.SettingsError, match="repository: .*some--one"):
        model.push_to_hub("some--one/tiny")
    hub.failing += [403]
    with pytest.raises(gavt.StorageError, match="hf://someone/tiny: "):
        model.push_to_hub(ID)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(gavt.StorageError, match="hf://someone/tiny: .*refused"):
        model.push_to_hub(ID)
