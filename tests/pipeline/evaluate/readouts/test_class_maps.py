"""The maps of the classes that are heard."""

import numpy as np
import pytest
import torch

from pipeline.evaluate.readouts.build import build_readout, default_readout, one_pass_readout
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.views import views_of
from pipeline.features.settings import FeatureSettings
from pipeline.tasks.classification import Classification
from pipeline.tasks.task import objective
from pipeline.tasks.tells_classes import TellsClasses
from pipeline.train.load import untrained
from pipeline.train.run_settings import RunSettings
from pipeline.train.system import example_batch
from tiny_shards import FEATURES

FRAMES = 3
MODEL = {
    "kind": "tribert",
    "visual_embedder": {"kind": "convolution", "widths": [8, 16, 16]},
    "classes": 3,
    "graph_widths": [4, 8],
    "sound_widths": [4, 8],
    "visual_width": 16,
    "pose_width": 16,
    "audio_width": 8,
    "shared_width": 16,
    "feed_forward": 16,
    "blocks": 1,
    "heads": 2,
}
CLASSES = {"kind": "classification", "classes": ["bell", "drum", "horn"], "streams": ["audio"], "maps_weight": 0.5}
SEPARATES = {"kind": "separate_and_classify", "classes": CLASSES["classes"], "group": 2, "widths": [4, 12]}
POSES = {"kind": "keypoints", "frames": 8}


def read(task, model=MODEL):
    features = FEATURES | {"frames": FRAMES, "frame_rate_hz": 10, "inputs": {"keypoints": POSES}}
    settings = RunSettings.model_validate({"features": features, "model": model, "task": task})
    system = untrained(settings, "cpu", 0).eval()
    return build_readout("class_maps", EvaluateSettings()), system, example_batch(system, settings, 4, "cpu")


@pytest.mark.parametrize("labels", ["one", "several"])
@pytest.mark.parametrize("expansive", ["space", "classes"])
def test_a_map_is_that_of_each_class_as_far_as_it_is_heard(labels, expansive):
    task = CLASSES | {"labels": labels}
    for settings in (task, {"kind": "several", "tasks": {"names": {"task": task}}}):
        readout, system, (inputs, _) = read(settings, MODEL | {"expansive": expansive})
        assert readout.reason_against(system) is None
        maps, model, head = readout(system, inputs), system.model, objective(system.task, Classification).head
        with torch.no_grad():
            middle = (inputs["frames"][:, 1] - model.image_mean) / model.image_deviation
            _, each = model.visual(middle)
            said = head(model.fuse(model.embed(inputs)).tokens["audio"].mean(1))
        heard = said.softmax(1) if labels == "one" else said.sigmoid()
        expected = sum(each[:, number] * heard[:, number, None, None] for number in range(3))
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6)
        assert maps.std((1, 2)).min() > 0
        one = readout(system, {name: values[:1] for name, values in inputs.items()})
        torch.testing.assert_close(one, maps[:1], rtol=1e-4, atol=1e-6)
        others = readout(system, inputs | {"sound": inputs["sound"].flip(0)})
        assert not torch.allclose(others, maps, rtol=1e-3)


def test_it_is_what_tribert_is_read_out_by_and_watched_with_where_labels_named_its_maps():
    _, system, _ = read(CLASSES)
    settings = EvaluateSettings()
    assert (default_readout(settings, system), one_pass_readout(settings, system)) == ("class_maps", "class_maps")
    assert system.model.class_maps.axes == (("time", FRAMES), ("row", 8), ("column", 8))


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (CLASSES | {"maps_weight": 0}, "have no names: it was trained with task.maps_weight = 0"),
        (SEPARATES, "have no names: it was trained with task.maps_weight = 0"),
        (
            {"kind": "dense_contrastive", "projection": 8, "group": 4},
            "trained by classes (classification, separate_and_classify), found task.kind =",
        ),
    ],
)
def test_maps_without_names_are_refused_in_a_sentence(task, said):
    readout, system, _ = read(task)
    assert said in readout.reason_against(system)


@pytest.mark.parametrize("task", [CLASSES, SEPARATES])
def test_the_loss_of_the_maps_teaches_the_network_that_makes_them_and_no_other(task):
    taught = {}
    for weight in (0.5, 2.0):
        readout, system, (inputs, targets) = read(task | {"maps_weight": weight})
        assert readout.reason_against(system) is None
        loss, _ = system(inputs, targets)
        loss.backward()
        gradients = {name: one.grad for name, one in system.named_parameters() if one.grad is not None}
        taught[weight] = (loss, gradients)
    (less, few), (more, many) = taught[0.5], taught[2.0]
    assert more > less
    assert few.keys() == many.keys()
    differ = {name.split(".")[1] for name in few if not torch.allclose(few[name], many[name], rtol=1e-4, atol=1e-8)}
    assert differ == {"visual"}


@pytest.mark.parametrize("task", [CLASSES, SEPARATES])
def test_the_report_is_given_the_maps_of_the_tokens_the_keypoints_and_a_mask(task):
    _, system, (inputs, _) = read(task)
    model, settings = system.model, FeatureSettings.model_validate(FEATURES | {"inputs": {"keypoints": POSES}})
    batch = EvaluationBatch([0, 1, 2, 3], ["a"] * 4, [None] * 4, inputs, [None] * 4, [None] * 4)
    views = views_of(system, settings, batch)
    with torch.no_grad():
        _, each = model.visual((inputs["frames"][:, 1] - model.image_mean) / model.image_deviation)
    order = each.mean((2, 3)).argsort(descending=True)[:, :2]
    torch.testing.assert_close(torch.from_numpy(views["token_maps"]), each[torch.arange(4)[:, None], order])
    names = task["classes"] if task is CLASSES else ["map 1", "map 2", "map 3"]
    assert views["token_names"].tolist() == [[names[one] for one in row] for row in order.tolist()]
    assert np.array_equal(views["keypoints"], inputs["keypoints"][:, 4])
    if task is CLASSES:
        assert views["masks"].shape == (4, 3, 0, 1)
        return
    mixed = inputs["sound"] + inputs["sound"][[3, 0, 1, 2]]
    found = system.task.frame_masks(model, inputs | {"sound": mixed})
    assert np.abs(views["masks"][:, 1] / 255 - found.numpy()).max() <= 0.5 / 255 + 1e-6
    alone, whole = (system.task.plane.magnitude(sound.mean(1, True))[:, 0] for sound in (inputs["sound"], mixed))
    assert np.array_equal(views["masks"][:, 2] > 0, (alone > 0.5 * whole).numpy())


@pytest.mark.parametrize(
    "task",
    [
        CLASSES | {"maps_weight": 0, "streams": ["visual", "audio"]},
        SEPARATES,
    ],
)
def test_maps_of_tokens_count_by_what_these_give_to_the_score_of_what_is_heard(task):
    _, system, (inputs, _) = read(task, MODEL | {"expansive": "classes"})  # whose tokens are large
    with torch.no_grad():  # heads that are surer than they begin, for else all is rounding
        for parameter in system.task.parameters():
            parameter.mul_(10)
    readout = build_readout("token_maps", EvaluateSettings())
    assert readout.reason_against(system) is None
    assert default_readout(EvaluateSettings(), system) == "token_maps"
    maps, model = readout(system, inputs), system.model
    told = objective(system.task, TellsClasses)
    with torch.no_grad():
        embedded = model.embed(inputs)
        middle = (inputs["frames"][:, 1] - model.image_mean) / model.image_deviation
        _, each = model.visual(middle)
        weights = told.heard(model.fuse(embedded))

        def score(scaled):
            return (weights * told.seen(model.fuse(embedded | {"visual": scaled}))).sum(1)

        expected = torch.zeros_like(maps)
        surest = each.mean((2, 3)).topk(2).indices
        for place in (0, 1):
            more, less = embedded["visual"].clone(), embedded["visual"].clone()
            more[:, 4 + place] *= 1.1
            less[:, 4 + place] *= 0.9
            given = (score(more) - score(less)) / 0.2
            expected += given[:, None, None] * each[torch.arange(4), surest[:, place]]
    assert maps.abs().max() > 0
    torch.testing.assert_close(maps, expected, rtol=0.05, atol=float(maps.abs().max()) * 0.05)
