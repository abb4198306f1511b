"""TriBERT's own objective: the attention U-Net and the heads of classes against numbers worked out another way, what is
hidden, and whose classes are told."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from objectives import OBJECTIVES
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.models.build import build_on
from pipeline.models.contract import CLASS_MAPS
from pipeline.settings.load import load_settings
from pipeline.tasks.attention_unet import AttentionUnet
from pipeline.tasks.separate_and_classify import ClassHead
from pipeline.train.load import untrained
from pipeline.train.system import example_batch, noise_metadata
from randomised import randomised

PAPER = (64, 128, 256, 512, 1536)


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(fusion, widths=(8, 16, 24)):
    return randomised(build_on("cpu", 0, lambda: AttentionUnet(widths, 1, "batch", fusion))).eval()


def settings_of(*words):
    given = [*OBJECTIVES["separate_and_classify"].words(), *words]
    return load_settings(None, ExperimentSettings, given).settings


def test_at_the_papers_size_the_unet_has_the_parameters_of_the_public_code():
    with torch.device("meta"):
        unet = AttentionUnet(PAPER, 1, "batch", "channels")
        found = unet(torch.empty(2, 1, 256, 256), torch.empty(4, 1536, 1), torch.tensor([0, 0, 1, 1]))
    assert numbers(unet) == 51_316_077
    assert numbers(unet.mlp) == 4_721_664
    assert [numbers(gate) for gate in unet.gates] == [263_939, 66_435, 16_835, 4_323]
    assert [numbers(block) for block in unet.down] == [37_696, 221_696, 885_760, 3_540_992, 28_317_696]
    assert found.shape == (4, 1, 256, 256)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fusion", ["channels", "sum"])
def test_the_bottleneck_takes_what_is_seen_as_its_equation_says(fusion, times):
    unet, features, seen = small(fusion), torch.randn(2, 24, 2, 3), torch.rand(2, 24, times)
    b, v = features.double().numpy(), np.broadcast_to(seen.double().numpy()[:, :, None], (2, 24, 2, 3))
    if fusion == "channels":
        v = 1 / (1 + np.exp(-v))
        products = np.exp(np.einsum("bcik,bckj->bcij", b, np.swapaxes(v[:, :, :1].repeat(3, 2), 2, 3)))
        v = products / products.sum(1, keepdims=True) * v
    weights = [one.detach().double().numpy() for one in unet.mlp.parameters()]
    joined = b + v
    hidden = np.maximum(np.einsum("bcij,dc->bijd", joined, weights[0]) + weights[1], 0)
    expected = joined + np.einsum("bijd,cd->bcij", hidden, weights[2]) + weights[3][:, None, None]
    np.testing.assert_allclose(unet.fuse(features, seen).detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_mask_is_what_convolutions_gates_and_bottleneck_worked_out_one_by_one_say():
    unet, spectrogram, seen = small("sum", (8, 16)), torch.randn(1, 1, 4, 4), torch.rand(1, 16, 1)

    def normed(values, norm):
        shifted = values - norm.running_mean[:, None, None]
        return (
            shifted / (norm.running_var[:, None, None] + norm.eps).sqrt() * norm.weight[:, None, None]
            + norm.bias[:, None, None]
        )

    def pair(values, block):
        for convolution, norm in ((block[0], block[1]), (block[3], block[4])):
            columns = F.unfold(values, 3, padding=1)
            values = (convolution.weight.flatten(1) @ columns).unflatten(2, values.shape[2:])
            values = normed(values, norm).clamp(min=0)
        return values

    def place_by_place(values, convolution):
        return torch.einsum("bchw,dc->bdhw", values, convolution.weight[..., 0, 0]) + convolution.bias[:, None, None]

    fine = pair(spectrogram, unet.down[0])
    coarse = pair(fine.unflatten(3, (2, 2)).unflatten(2, (2, 2)).amax((3, 5)), unet.down[1])
    up = unet.doubling[0]
    spread = torch.einsum("bchw,cdij->bdhiwj", unet.fuse(coarse, seen), up.weight).flatten(4, 5).flatten(2, 3)
    spread = spread + up.bias[:, None, None]
    gate = unet.gates[0]
    ways = ((spread, gate.coarser), (fine, gate.finer))
    both = sum(normed(place_by_place(values, way[0]), way[1]) for values, way in ways)
    opens = normed(place_by_place(both.clamp(min=0), gate.opens[0]), gate.opens[1]).sigmoid()
    expected = place_by_place(pair(torch.cat([spread, fine * opens], 1), unet.up[0]), unet.out)
    torch.testing.assert_close(unet(spectrogram, seen, torch.tensor([0])), expected, rtol=1e-4, atol=1e-4)


def test_a_mixture_is_taken_apart_by_each_that_is_seen_as_if_it_were_alone():
    unet, spectrograms, seen = small("sum"), torch.randn(2, 1, 13, 10), torch.rand(3, 24, 1)
    of = torch.tensor([1, 0, 1])
    together = unet(spectrograms, seen, of)
    alone = [unet(spectrograms[one : one + 1], seen[row : row + 1], torch.tensor([0])) for row, one in enumerate(of)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert together.shape == (3, 1, 13, 10)


def test_components_are_weighed_at_each_time_by_what_is_seen_then():
    task = untrained(settings_of("task.look=frames", "task.components=3"), "cpu", 0).eval().task
    seen, components = torch.rand(2, 24, 2), torch.randn(2, 3, 5, 8)
    weights = task.condition(seen.transpose(1, 2))  # [2, times, 3]
    found = task.condition.weigh_times(seen, components)[:, 0]
    for end, time in ((0, 0), (-1, 1)):  # at both ends nothing is between two times
        expected = torch.einsum("bk,bkf->bf", weights[:, time], components[..., end]) + task.condition.bias
        torch.testing.assert_close(found[..., end], expected)
    same = seen[:, :, :1].expand(-1, -1, 2)
    once = task.condition.weigh_times(seen[:, :, :1], components)
    torch.testing.assert_close(task.condition.weigh_times(same, components), once)


@pytest.mark.parametrize("weakly", [True, False])
def test_a_class_is_as_sure_as_the_equations_say(weakly):
    head = randomised(build_on("cpu", 0, lambda: ClassHead(8, 3, weakly)))
    tokens = torch.randn(2, 4, 2, 8)
    objects = head.decode(head.transform(tokens)).mean(1)

    def softmax(values, axis):
        raised = np.exp(values)
        return raised / raised.sum(axis, keepdims=True)

    if weakly:
        ways = (head.recognise(objects).detach().numpy(), head.detect(objects).detach().numpy())
        expected = (softmax(ways[0], 2) * softmax(ways[1], 1)).sum(1)
    else:
        expected = softmax(objects.mean(1).detach().numpy(), 1)
    found = head(tokens).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.sum(1).numpy() == pytest.approx(1, rel=1e-5)


def test_of_frames_and_persons_as_many_tokens_are_hidden_as_the_setting_says_and_none_in_validation():
    settings = settings_of("task.hidden=0.3", "task.unknown=leave_out")
    system = untrained(settings, "cpu", 0)
    metadata = [noise_metadata(settings.features, position) for position in range(400)]
    hidden = system.task.targets(0, range(400), metadata, "train")
    for name in ("visual", "pose"):
        chosen = hidden[f"hidden/{name}"]
        assert not chosen[:, :2].any()
        assert chosen[:, 2:].float().mean() == pytest.approx(0.3, abs=0.05)
    later = system.task.targets(0, range(200, 204), metadata[200:204], "train")
    assert torch.equal(later["hidden/visual"], hidden["hidden/visual"][200:204])
    assert not system.task.targets(0, range(400), metadata, "validation")["hidden/visual"].any()


def test_class_maps_learn_the_labels_of_the_video_that_is_sought():
    found = {}
    for weight in (0, 3):
        settings = settings_of("task.hidden=0", "model.classes=2", "model.objects=2", f"task.maps_weight={weight}")
        system = untrained(settings, "cpu", 0).eval()
        inputs, targets = example_batch(system, settings, 4, "cpu")
        found[weight] = system(inputs, targets)[0].item()
    said = system.model.embed({"frames": inputs["frames"]})[CLASS_MAPS].detach().double().mean(1).numpy()
    truth = targets["truth"].double().numpy()
    losses = np.logaddexp(0, said) - truth * said
    assert found[3] - found[0] == pytest.approx(3 * losses[targets["sample"]].mean(), rel=1e-4)
    with pytest.raises(
        SettingsError, match=r"class maps of 2 task.classes for task.maps_weight \(model.classes\), found 4"
    ):
        settings_of("task.maps_weight=1")


def test_tokens_of_the_sounds_themselves_are_not_made():
    system = untrained(settings_of(), "cpu", 0)
    inputs, targets = example_batch(system, settings_of(), 4, "cpu")
    heard = []
    system.model.audio.register_forward_hook(lambda module, given, got: heard.append(len(got)))
    system(inputs, targets)
    assert heard == [len(targets["members"])]


def test_classes_are_those_of_the_video_that_is_sought_and_hidden_tokens_say_nothing():
    settings = settings_of("task.hidden=0", "task.class_weight=1")
    system = untrained(settings, "cpu", 0).eval()
    inputs, targets = example_batch(system, settings, 4, "cpu")
    loss, sums = system(inputs, targets)
    of = dict(zip(settings.task.sums, sums.tolist(), strict=True))
    without = dict(targets, labelled=torch.zeros_like(targets["labelled"]))
    masks, told = system(inputs, without)
    assert (loss - masks).item() == pytest.approx(of["classes"] / 4, rel=1e-5)
    assert dict(zip(settings.task.sums, told.tolist(), strict=True))["classes"] == 0
    swapped = dict(targets, truth=targets["truth"].flip(1))
    assert system(inputs, swapped)[0].item() != pytest.approx(loss.item(), rel=1e-4)
    all_hidden = targets | {"hidden/visual": torch.ones_like(targets["hidden/visual"])}
    black = inputs | {"frames": torch.zeros_like(inputs["frames"])}
    assert system(inputs, all_hidden)[0].item() != pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(system(inputs, all_hidden)[0], system(black, all_hidden)[0])


@pytest.mark.parametrize("look", ["whole", "frames"])
def test_a_model_without_poses_needs_no_keypoints(look):
    words = (f"task.look={look}", "task.fusion=sum", "task.widths=[8, 16]")
    settings = settings_of("model.pose=false", "features.inputs={}", *words)
    system = untrained(settings, "cpu", 0).train()
    inputs, targets = example_batch(system, settings, 4, "cpu")
    assert "keypoints" not in inputs
    loss, sums = system(inputs, targets)
    loss.backward()
    figures = settings.task.figures(dict(zip(settings.task.sums, sums.tolist(), strict=True)))
    assert figures["pose_accuracy"] is None
    assert figures["visual_accuracy"] is not None
