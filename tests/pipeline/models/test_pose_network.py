"""The network of TriBERT's pose tokens against the same worked out in another way."""

import numpy as np
import pytest
import torch

from pipeline.models.build import build_on
from pipeline.models.norms import BatchNorm2d
from pipeline.models.tribert.pose import GraphConvolution, adjacency, boxes_of, own_frames
from pipeline.samples.skeleton import BONES
from randomised import randomised
from small_tribert import STEPS, small


def test_points_hear_of_neighbours_apart_by_their_nearness_to_the_neck():
    line = adjacency(((0, 1), (1, 2)), 3, 0)
    third = 1 / 3
    assert line[0].tolist() == np.diag(np.float32([0.5, third, 0.5])).tolist()
    assert line[1].tolist() == [[0, 0, 0], np.float32([0.5, 0, 0]).tolist(), np.float32([0, third, 0]).tolist()]
    assert line[2].tolist() == [np.float32([0, third, 0]).tolist(), np.float32([0, 0, 0.5]).tolist(), [0, 0, 0]]
    whole = adjacency(BONES, 68, 18)
    assert (whole > 0).sum() == 68 + 2 * len(BONES)
    np.testing.assert_allclose(whole.sum((0, 1)), 1, rtol=1e-6)


@pytest.mark.parametrize(("channels", "stride", "residual"), [(3, 1, False), (6, 1, True), (4, 2, True)])
def test_a_graph_convolution_is_what_sums_over_edges_and_steps_say(channels, stride, residual):
    layer = build_on("cpu", 0, lambda: GraphConvolution(channels, 6, stride, "batch", residual))
    layer, nodes = randomised(layer).eval(), torch.rand(1, channels, 5, 68)
    edges = (layer.graph * layer.importance).detach().numpy().astype(np.float64)
    weight, bias = (values.detach().numpy() for values in (layer.space.weight[:, :, 0, 0], layer.space.bias))
    heard = np.zeros((6, 5, 68))
    for kind in range(3):
        own = slice(6 * kind, 6 * kind + 6)
        sent = np.einsum("oc,ctv->otv", weight[own], nodes[0].numpy()) + bias[own, None, None]
        heard += np.einsum("otv,vw->otw", sent, edges[kind])
    first, _, over_time, last = layer.time
    seen = np.pad(np.maximum(normed(first, heard), 0), ((0, 0), (4, 4), (0, 0)))
    kernel, offset = over_time.weight.detach().numpy()[..., 0], over_time.bias.detach().numpy()
    moments = range(0, 5, stride)
    summed = np.stack([np.einsum("ock,ckv->ov", kernel, seen[:, at : at + 9]) + offset[:, None] for at in moments], 1)
    expected = normed(last, summed)
    if residual and channels == 6:
        expected = expected + nodes[0].numpy()
    elif residual:
        one, norm = layer.shortcut
        short = np.einsum("oc,ctv->otv", one.weight.detach().numpy()[:, :, 0, 0], nodes[0].numpy()[:, ::stride])
        expected = expected + normed(norm, short + one.bias.detach().numpy()[:, None, None])
    with torch.no_grad():
        np.testing.assert_allclose(layer(nodes)[0].numpy(), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def normed(norm: BatchNorm2d, values):
    mean, variance, weight, bias = (
        one.detach().numpy()[:, None, None] for one in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (values - mean) / np.sqrt(variance + norm.eps) * weight + bias


def test_the_first_pose_tokens_stand_for_all_frames_and_lie_everywhere():
    network, keypoints = small().pose, torch.rand(1, STEPS, 2, 68, 3)
    with torch.no_grad():
        tokens, features = network(keypoints).view(4, 2, -1), network.features(keypoints)[0]
        expected = network.project(features.sum(0) / 6) + network.locate(torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]))
        boxes = boxes_of(keypoints)[0, 4:8].mean(0)
        second = network.project(features[1]) + network.locate(boxes)
    torch.testing.assert_close(tokens[0], expected)
    torch.testing.assert_close(tokens[2], second)


def test_a_person_reads_the_same_wherever_and_however_large_unless_points_are_measured_in_the_frame():
    keypoints = torch.rand(1, STEPS, 2, 68, 3)
    keypoints[:, :, 1] = 0
    elsewhere = keypoints.clone()
    elsewhere[:, :, 0, :, :2] = keypoints[:, :, 0, :, :2] / 4 + 0.6
    with torch.no_grad():
        for measured, alike in (("person", True), ("frame", False)):
            network = small(measured=measured).pose
            before, after = network.features(keypoints), network.features(elsewhere)
            assert torch.allclose(before, after, rtol=1e-3, atol=1e-4) == alike
            assert torch.isfinite(before).all()
    middle, side = own_frames(keypoints)
    least, most = keypoints[0, :, 0, :, :2].amin((0, 1)), keypoints[0, :, 0, :, :2].amax((0, 1))
    torch.testing.assert_close(middle[0, 0, 0, 0], (least + most) / 2)
    assert side[0, 0].flatten().tolist() == [(most - least).max().item(), 1]


def test_points_are_measured_before_they_are_rounded_to_16_bits():
    keypoints = torch.rand(1, STEPS, 2, 68, 3)
    elsewhere = keypoints.clone()
    elsewhere[..., :2] = keypoints[..., :2] / 32 + 0.9
    model = small().bfloat16()
    torch.nn.init.zeros_(model.pose.locate.weight)
    with torch.no_grad():
        before, after = (model.embed({"keypoints": one})["pose"].float() for one in (keypoints, elsewhere))
    assert (before - after).norm() < 1e-2 * before.norm()


def test_persons_are_seen_each_by_itself_and_points_not_found_are_nowhere():
    network, keypoints = small().pose, torch.rand(1, STEPS, 2, 68, 3)
    keypoints[:, :, 1] = 0
    boxes = boxes_of(keypoints)
    assert not boxes[:, :, 1].any()
    left, top, right, bottom, area = boxes[0, 0, 0].tolist()
    assert (left, top) == tuple(keypoints[0, 0, 0, :, :2].amin(0).tolist())
    assert area == pytest.approx((right - left) * (bottom - top))
    moved = keypoints.clone()
    moved[:, :, 1, :, :2] = 0.7  # of confidence 0
    with torch.no_grad():
        assert torch.equal(network(keypoints), network(moved))
        changed = keypoints.clone()
        changed[:, :, 0] = 0.3
        before, after = network.features(keypoints), network.features(changed)
    assert torch.equal(before[:, :, 1], after[:, :, 1])
    assert not torch.equal(before[:, :, 0], after[:, :, 0])
