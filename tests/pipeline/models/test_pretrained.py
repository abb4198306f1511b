import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tiny_gavt import EMBEDDERS, VIT, tiny
from torch import nn
from torchvision.models.resnet import Bottleneck
from torchvision.models.vision_transformer import VisionTransformer

from cluster.errors import UserError
from pipeline.errors import SettingsError
from pipeline.features.settings import FeatureSettings
from pipeline.models.build import build_on
from pipeline.models.embedders.resnet import ResidualBlock
from pipeline.models.pretrained import load_pretrained
from pipeline.models.tribert.model import Tribert
from pipeline.models.tribert.settings import TribertSettings
from tiny_shards import FEATURES

POSES = {"kind": "keypoints"}
TRIBERT = {
    "classes": 3,
    "graph_widths": [4],
    "sound_widths": [4, 8],
    "visual_width": 16,
    "pose_width": 16,
    "audio_width": 8,
    "shared_width": 16,
    "feed_forward": 16,
    "blocks": 1,
    "heads": 2,
}
TINY_VIT = {"patch_size": 8, "num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}


def weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random ones, with running averages that have moved."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(tensor.shape, generator=generator) * 0.1 + (0.5 if name.endswith("running_var") else 0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in network.state_dict().items()
    }


def test_a_resnet_computes_what_torchvisions_does(tmp_path):
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(weights_of(network))
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    both = {"kind": "resnet18", "weights": str(tmp_path / "resnet18.pth")}
    image = torch.rand(2, 3, 32, 32)
    for norm in ("batch", "sync_batch", "frozen"):
        model = tiny(visual_embedder=both | {"norm": norm}, audio_embedder=both | {"norm": norm}).eval()
        load_pretrained(model)
        features = model.visual_embedder.features
        with torch.no_grad():
            ours = image
            for stage in list(features)[:7]:  # stem and three stages, before the stride that is taken away
                ours = stage(ours)
            network.eval()
            theirs = network.maxpool(network.relu(network.bn1(network.conv1(image))))
            theirs = network.layer3(network.layer2(network.layer1(theirs)))
        assert torch.allclose(ours, theirs, rtol=1e-4), norm
        assert torch.equal(features[8].conv2.weight, network.layer4[1].conv2.weight)
        audio = model.audio_embedder.features
        assert torch.allclose(audio[0][0].weight, network.conv1.weight.mean(1, keepdim=True))
        assert torch.equal(audio[6].conv1.weight, network.layer3[1].conv1.weight)


def test_a_block_of_a_larger_resnet_computes_what_torchvisions_does():
    shortcut = nn.Sequential(nn.Conv2d(64, 128, 1, 2, bias=False), nn.BatchNorm2d(128))
    theirs = Bottleneck(64, 32, 2, shortcut).eval()
    theirs.load_state_dict(weights_of(theirs))
    ours = ResidualBlock(64, 32, 2, True, nn.BatchNorm2d).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(2, 64, 9, 9)
    assert torch.equal(ours(image.clone()), theirs(image.clone()))


def test_a_vit_computes_what_torchvisions_does(tmp_path):
    network = VisionTransformer(image_size=32, **TINY_VIT, num_classes=5).eval()
    network.load_state_dict(weights_of(network))
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    model = tiny(visual_embedder=VIT | {"weights": str(tmp_path / "vit.safetensors")}).eval()
    load_pretrained(model)
    seen = []
    model.visual_embedder.encoder.register_forward_hook(lambda module, given, got: seen.append(got[0]))
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        model.visual_embedder(image)
        tokens = torch.cat([network.class_token.expand(2, -1, -1), network._process_input(image)], dim=1)
        assert torch.allclose(seen[0], network.encoder(tokens), atol=1e-4)


def test_positions_of_a_vit_are_interpolated_to_another_grid(tmp_path):
    network = VisionTransformer(image_size=64, **TINY_VIT, num_classes=5)
    places = torch.linspace(0, 1, 8)
    network.encoder.pos_embedding.data[0, 1:] = (places[:, None] + 2 * places).flatten()[:, None].expand(-1, 16)
    state = network.state_dict()
    # as torchvision named them once, and still does in its files
    old = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): state[name] for name in state}
    torch.save(old, tmp_path / "vit.pth")
    model = tiny(audio_embedder=VIT | {"weights": str(tmp_path / "vit.pth")})
    load_pretrained(model)
    positions = model.audio_embedder.positions
    assert torch.equal(positions[:, 0], network.encoder.pos_embedding[:, 0])
    smaller = (torch.arange(4) * 2 + 0.5) / 7  # middles of 4 cells, in steps of 8
    assert torch.allclose(positions[0, 1:, 3].view(4, 4), smaller[:, None] + 2 * smaller, atol=0.05)
    assert torch.equal(model.audio_embedder.patches.weight, network.conv_proj.weight.mean(1, keepdim=True))


def test_a_convnext_takes_all_that_fits(tmp_path):
    network = torchvision.models.convnext_tiny(weights=None, layer_scale=0.5)
    torch.save(network.state_dict(), tmp_path / "convnext.pth")
    given = {"kind": "convnext", "weights": str(tmp_path / "convnext.pth")}
    model = tiny(visual_embedder=given, audio_embedder=given).eval()
    load_pretrained(model)
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        ours = image
        for stage in list(model.visual_embedder.features)[:18]:
            ours = stage(ours)
        assert torch.allclose(ours, network.eval().features[:6](image), atol=1e-4)
    assert torch.equal(model.visual_embedder.features[-1].layer_scale, network.features[7][2].layer_scale)
    assert torch.equal(model.visual_embedder.norm.weight, network.classifier[0].weight)


def test_what_is_not_named_keeps_its_own_start():
    model, same = tiny(), tiny()
    load_pretrained(model)
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda state: [state.pop(f"layer4.1.{name}.weight") for name in ("conv1", "bn1", "conv2", "bn2")],
            r"visual_embedder.weights: expected 100 tensors of resnet18 in .*w.pth, found none named "
            r"layer4.1.conv1.weight, layer4.1.bn1.weight, layer4.1.conv2.weight and 1 more",
        ),
        (
            lambda state: state.update({"conv1.weight": torch.zeros(64, 4, 7, 7)}),
            r"expected conv1.weight of shape \[64, 3, 7, 7\] in .*w.pth, found \[64, 4, 7, 7\]",
        ),
        (lambda state: state.update({"epoch": 3}), "expected a dictionary of tensors in .*w.pth, found something else"),
        (
            lambda state: state.update({3: torch.zeros(1)}),
            "expected a dictionary of tensors in .*w.pth, found something",
        ),
    ],
)
def test_another_networks_file_ends_in_one_sentence(tmp_path, spoil, sentence):
    state = torchvision.models.resnet18(weights=None).state_dict()
    spoil(state)
    torch.save(state, tmp_path / "w.pth")
    model = tiny(visual_embedder=EMBEDDERS["resnet18"] | {"weights": str(tmp_path / "w.pth")})
    with pytest.raises(SettingsError, match=sentence) as found:
        load_pretrained(model)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"no weights at all", b"hello, this is a web page", b""])
def test_a_file_of_something_else_ends_in_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    model = tiny(visual_embedder=EMBEDDERS["resnet18"] | {"weights": str(tmp_path / name)})
    with pytest.raises(
        SettingsError, match=f"visual_embedder.weights: expected a file of tensors, found .*{name}"
    ) as e:
        load_pretrained(model)
    assert "\n" not in str(e.value)


def test_a_missing_file_ends_in_one_sentence(tmp_path):
    model = tiny(visual_embedder=EMBEDDERS["resnet18"] | {"weights": str(tmp_path / "none.pth")})
    with pytest.raises(UserError, match="none.pth") as found:
        load_pretrained(model)
    assert "\n" not in str(found.value)


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"conv1.weight": Code()}, tmp_path / "w.pth")
    model = tiny(visual_embedder=EMBEDDERS["resnet18"] | {"weights": str(tmp_path / "w.pth")})
    with pytest.raises(SettingsError, match="expected a file of tensors"):
        load_pretrained(model)
    assert not (tmp_path / "ran").exists()


def test_a_known_name_is_fetched_by_torchvision(tmp_path, monkeypatch):
    enum = torchvision.models.get_model_weights("resnet18")
    state = weights_of(torchvision.models.resnet18(weights=None))
    asked = []
    monkeypatch.setattr(enum, "get_state_dict", lambda self, **how: asked.append((self.name, how)) or state)
    model = tiny(visual_embedder=EMBEDDERS["resnet18"] | {"weights": "IMAGENET1K_V1"})
    load_pretrained(model)
    assert asked == [("IMAGENET1K_V1", {"progress": False, "check_hash": True})]
    assert torch.equal(model.visual_embedder.features[0][0].weight, state["conv1.weight"])


@pytest.mark.parametrize("by", ["file", "name"])
def test_triberts_visual_stream_is_torchvisions_at_its_own_stride(by, tmp_path, monkeypatch):
    network = torchvision.models.resnet18(weights=None)
    network.load_state_dict(weights_of(network))
    if by == "name":  # as torchvision keeps what it has fetched
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (kept := tmp_path / "hub/checkpoints").mkdir(parents=True)
    weights = kept / torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(network.state_dict(), weights)
    embedder = {"kind": "resnet18", "weights": str(weights) if by == "file" else "IMAGENET1K_V1"}
    settings = TribertSettings.model_validate(TRIBERT | {"visual_embedder": embedder})
    features = FeatureSettings.model_validate(FEATURES | {"frame_size": 64, "inputs": {"keypoints": POSES}})
    model = build_on("cpu", 0, lambda: Tribert(settings, features, {"keypoints": (1, 2, 68, 3)})).eval()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_pretrained(model)
    image, resnet = torch.rand(2, 3, 64, 64), model.visual.features
    with torch.no_grad():
        theirs = torch.nn.Sequential(*list(network.eval().children())[:-2])(image)
        torch.testing.assert_close(resnet.features(image), theirs, rtol=1e-4, atol=1e-5)
    assert theirs.shape == (2, 512, 2, 2)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, own[name])}
    assert changed
    assert all(name.startswith("visual.features.features.") for name in changed)


@pytest.mark.parametrize(
    ("embedder", "sentence"),
    [
        ({"kind": "resnet50", "norm": "frozen"}, "weights to freeze the statistics of"),
        (
            {"kind": "resnet50", "norm": "group", "weights": "IMAGENET1K_V2"},
            "norm = batch, sync_batch or frozen with",
        ),
    ],
)
def test_norms_that_do_not_fit_the_weights_are_refused(embedder, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny(visual_embedder=embedder)
