"""What a run may begin with, and what is said of each parameter and buffer."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cluster import storage
from cluster.errors import UserError
from demanding_tasks import Taught, TaughtSettings
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.tasks.task import System
from pipeline.train.checkpoints.export import export
from pipeline.train.load import untrained
from pipeline.train.loop import train
from pipeline.train.settings import TrainSettings
from pipeline.train.start_from import find_source, start_from
from saved_weights import saved_weights

STEP = "checkpoints/step-0000000002"
VIT = "{kind: vit, patch: 4, width: 8, feed_forward: 8, layers: 1, heads: 2}"


def read(command, *words):
    return load_settings(str(command.config), ExperimentSettings, words).settings


def start(command, url, *words, seed=5):
    """A new model that has started from there; before, after, and what is said."""
    settings = read(command, f"train.start_from={{url: {url}}}", *words)
    system = untrained(settings, "cpu", seed)
    before = {name: weights.clone() for name, weights in system.state_dict().items()}
    source = find_source(settings.train.start_from)
    return before, system.state_dict(), start_from(system, source, settings.train)


@pytest.fixture(scope="module")
def places(command, group, tmp_path_factory):
    """A run with an average, and what may be made of it."""
    folder = tmp_path_factory.mktemp("started")
    words = ["train.steps=2", "train.ema_decay=0.5", "train.wandb.mode=disabled"]
    train(read(command, *words), str(folder / "run"), group, lambda record: None)
    export(str(folder / "run"), str(folder / "export"))
    export(str(folder / "run"), str(folder / "raw"), raw=True)
    shutil.copy(folder / "raw" / "model.safetensors", folder / "raw.safetensors")
    torch.save(load_file(folder / "raw.safetensors"), folder / "raw.pth")
    return folder


@pytest.mark.parametrize(
    ("place", "weights", "average"),
    [
        ("run", "average", True),
        ("run", "raw", False),
        ("run/checkpoints", "average", True),
        (f"run/{STEP}", "raw", False),
        ("export", "average", True),
        ("raw.safetensors", "average", False),
        ("raw.pth", "average", False),
    ],
)
def test_weights_come_from_a_run_a_checkpoint_an_export_or_a_file(command, places, place, weights, average):
    _, after, started = start(
        command, places / place, f"train.start_from.weights={weights}", "train.start_from.strict=true"
    )
    expected = saved_weights(places / "run", average)
    assert after.keys() == expected.keys()
    assert all(torch.equal(after[name], expected[name]) for name in after)
    assert len(started.taken) == len(after)
    assert (started.new, started.left) == ([], [])
    checkpoint = "raw." not in place
    assert (started.step, started.average) == ((2, average) if checkpoint else (None, False))


def test_weights_come_from_object_storage(command, places, s3_bucket):
    for name in ("model.safetensors", "manifest.json"):
        storage.upload(places / "export" / name, f"{s3_bucket}/export/{name}")
    for url in (f"{s3_bucket}/export", f"{s3_bucket}/export/model.safetensors"):
        _, after, _ = start(command, url)
        expected = load_file(places / "export" / "model.safetensors")
        assert all(torch.equal(after[name], expected[name]) for name in after)


def test_what_is_not_asked_for_begins_as_it_does_without(command, places):
    take = "train.start_from.take=[model.encoder.*, model.positions]"
    before, after, started = start(command, places / "raw.safetensors", take, "train.start_from.strict=true")
    expected = load_file(places / "raw.safetensors")
    for name, weights in after.items():
        taken = name.startswith("model.encoder.") or name == "model.positions"
        assert torch.equal(weights, (expected if taken else before)[name]), name
    assert {row.why for row in started.new} == {row.why for row in started.left} == {"not in take"}


def test_positions_of_a_vit_are_interpolated_and_others_of_another_grid_begin_anew(command, tmp_path):
    vit = f"model.visual_embedder={VIT}"
    larger = untrained(read(command, vit, "features.frame_size=64"), "cpu", 1).state_dict()
    save_file(larger, tmp_path / "larger.safetensors")
    before, after, started = start(command, tmp_path / "larger.safetensors", vit)
    (adapted,) = [row for row in started.taken if row.found is not None]
    assert (adapted.name, adapted.shape, adapted.found) == ("model.visual_embedder.positions", [1, 65, 8], [1, 257, 8])
    (other,) = started.new
    assert (other.name, other.why) == ("model.positions", "another shape")
    assert torch.equal(after["model.positions"], before["model.positions"])
    assert torch.equal(after[adapted.name][:, 0], larger[adapted.name][:, 0])
    whole = larger[adapted.name][0, 1:].view(16, 16, 8)[2:6, 2:6].mean((0, 1))
    assert torch.allclose(after[adapted.name][0, 1:].view(8, 8, 8)[1:3, 1:3].mean((0, 1)), whole, atol=0.01)


def test_what_is_frozen_as_it_was_drawn_is_said(command, places):
    words = ["model.registers=2", "train.freeze=[model.registers, model.class_token]"]
    _, _, started = start(command, places / "raw.safetensors", *words)
    assert started.stuck == ["model.registers"]
    assert "frozen though new: model.registers" in started.said()


def test_a_teacher_begins_as_its_student_whatever_is_there_for_it(tmp_path):
    system = System(nn.Linear(2, 2), Taught(TaughtSettings(), None), ())
    settings = TrainSettings(start_from={"url": str(tmp_path / "all.safetensors"), "strict": True})
    save_file(system.state_dict(), tmp_path / "all.safetensors")
    started = start_from(system, find_source(settings.start_from), settings)
    students = {f"task.student.{name}" for name in ("weight", "bias")}
    assert {row.name for row in started.taken} == students | {"model.weight", "model.bias"}
    assert {(row.name, row.why) for row in started.left} == {
        (name.replace("student", "teacher"), "a teacher's, which begins as its student does") for name in students
    }


@pytest.mark.parametrize(
    ("place", "words", "message"),
    [
        ("nowhere", [], "train.start_from.url: {}/nowhere: expected a run folder or a checkpoint with a manifest.json"),
        ("none.pth", [], "train.start_from.url: {}/none.pth: no such file"),
        ("damaged", [], "{}/damaged/model.safetensors: damaged, its content is not what was saved"),
        ("code.pth", [], "train.start_from.url: expected a file of tensors, found {}/code.pth"),
        ("raw.pth", ["train.start_from.rename={'*': 'net.*'}"], "such as model.class_token [1, 1, 16]"),
        (
            "raw.pth",
            ["train.start_from.rename={'net.*': '*'}"],
            "which none before them fits, found 'net.*'; there",
        ),
        ("raw.pth", ["train.start_from.rename={'*.bias': '*.weight'}"], "expected a name of its own for each tensor"),
        ("raw.pth", ["train.start_from.strict=true", "model.registers=2"], "none that fits model.registers [1, 2, 16]"),
        ("raw.pth", ["train.start_from.strict=true", "model.width=8"], "(there [1, 1, 16])"),
        ("raw.pth", ["train.start_from.strict=true", "model.layers=1"], "no other tensors than the model's in"),
    ],
)
def test_what_can_not_be_started_from_ends_in_one_sentence(command, places, place, words, message):
    if place == "damaged":
        shutil.copytree(places / "export", places / "damaged")
        with (places / "damaged" / "model.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\xff")
    if place == "code.pth":
        torch.save({"model.positions": Code()}, places / "code.pth")
    with pytest.raises(UserError) as found:
        start(command, places / place, *words)
    assert message.format(places) in str(found.value)
    assert "\n" not in str(found.value)


class Code:
    """What a file must not run."""

    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))
