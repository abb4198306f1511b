"""Networks see each segment where it lies, and are what their publishers define."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision
from PIL import Image

from cluster.process_group import ProcessGroup
from pipeline.errors import SettingsError
from pipeline.extract.extract import extract_features
from pipeline.extract.networks.build import build_network
from pipeline.extract.networks.contract import Moments, Network
from pipeline.extract.networks.vggish import LogMel, Pca, VGGish
from pipeline.extract.settings import ExtractSettings, ModelChoice
from pipeline.features.settings import FeatureSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.array_file import decode_array
from pipeline.shards.shard_set import ShardSet
from pipeline.sound.flac import encode_flac
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.settings import DataSettings
from written_shards import write_shards

CPU = torch.device("cpu")
TEN = Moments(10, 1.0)
RATE_HZ = 22050
LABELS = [["dog"] if place in (2, 3) else [] for place in range(4)]
Numbers = npt.NDArray[np.float64]


def network(model: str, moments: Moments = TEN, **changed: Any) -> Network:
    settings = ExtractSettings.model_validate({"models": [{"model": model}], "random_weights": True} | changed)
    return build_network(settings.models[0], settings, moments, CPU)


def published_log_mel(sound: Numbers) -> Numbers:
    """Of a second at 16 kHz, as `mel_features.py` of VGGish says it: window by window and band by band."""
    turn = 2 * np.pi * np.arange(400) / 400
    windows = np.stack([sound[start : start + 400] * (0.5 - 0.5 * np.cos(turn)) for start in range(0, 15601, 160)])
    magnitudes = np.abs(np.fft.rfft(windows, 512))
    mel = 1127 * np.log(1 + np.linspace(0, 8000, 257) / 700)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    found = []
    for lower, centre, upper in zip(edges, edges[1:], edges[2:], strict=False):
        band = np.maximum(0, np.minimum((mel - lower) / (centre - lower), (upper - mel) / (upper - centre)))
        found.append(magnitudes[:, 1:] @ band[1:])
    return np.log(np.stack(found, axis=1) + 0.01)


def test_the_log_mel_spectrogram_is_vggishs() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 16000)
    own = LogMel()(torch.tensor(sound)[None])[0]
    expected = published_log_mel(sound)
    assert expected.shape == (98, 64)
    assert own.shape == (96, 64)
    assert np.allclose(own, expected[:96], atol=1e-5)
    silence = LogMel()(torch.zeros(1, 16000))
    assert torch.allclose(silence, torch.full_like(silence, float(np.log(0.01))))


def state_of(module: torch.nn.Module, folder: Path) -> Path:
    drawn = (
        0.05 * torch.randn(99_991, generator=torch.Generator().manual_seed(1))
    ).half()  # of all there are takes long
    shapes = {name: one.shape for name, one in module.state_dict().items()}
    state = {
        name: drawn.repeat(shape.numel() // len(drawn) + 1)[: shape.numel()].view(shape)
        for name, shape in shapes.items()
    }
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def test_vggish_takes_the_public_checkpoint_by_its_names_and_gives_128_a_second(tmp_path: Path) -> None:
    names = ["features.0", "features.3", "features.6", "features.8", "features.11", "features.13"]
    names += ["embeddings.0", "embeddings.2", "embeddings.4"]
    with torch.device("meta"):
        module = VGGish(None)
    parameters = dict(module.named_parameters())
    assert list(parameters) == [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    assert sum(one.numel() for one in parameters.values()) == 72_141_184
    weights = state_of(module, tmp_path)
    vggish = network("vggish", models=[{"model": "vggish", "weights": str(weights)}])
    bias = vggish.module.state_dict()["embeddings.4.bias"]
    assert torch.equal(bias, torch.load(weights)["embeddings.4.bias"].float())
    (field,) = vggish.fields
    sound = torch.rand(2, 1, 160000, generator=torch.Generator().manual_seed(0)) - 0.5
    found = vggish({field.name: sound})["audio"]
    assert found.shape == (2, 10, 128)
    third = vggish.module(sound[1:, 0, 32000:48000])
    assert torch.allclose(found[1, 2], third[0], atol=1e-4 * float(third.max()))
    weights.unlink()  # 145 MB
    with pytest.raises(SettingsError, match=r"--model vggish: expected segments of 0\.975 s or more.*found 0\.5 s"):
        network("vggish", Moments(10, 0.5))


def test_audiosets_pca_makes_bytes_of_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    means, vectors = generator.normal(size=(128, 1)), generator.normal(size=(128, 128)) / 8
    np.savez(tmp_path / "pca.npz", pca_means=means, pca_eigen_vectors=vectors)
    found = Pca(str(tmp_path / "pca.npz"), "--pca")(torch.tensor(means.T) + 1).numpy()
    expected = np.clip(vectors @ np.ones(128), -2, 2)
    assert np.array_equal(found[0], np.round((expected + 2) * 255 / 4))
    np.savez(tmp_path / "other.npz", pca_means=means)
    with pytest.raises(SettingsError, match=r"--pca: expected VGGish's PCA in .*other\.npz"):
        Pca(str(tmp_path / "other.npz"), "--pca")


def test_vgg19_is_torchvisions_up_to_pool5(tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg19()
    weights = state_of(theirs.features, tmp_path)
    state = {f"features.{name}": one for name, one in torch.load(weights).items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(4096)}, weights)
    vgg = network("vgg19", Moments(1, 1.0), random_weights=False, models=[{"model": "vgg19", "weights": str(weights)}])
    frames = torch.rand(1, 1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = vgg({vgg.fields[0].name: frames})["visual"]
    assert found.shape == (1, 1, 7, 7, 512)
    bare = theirs.features.eval()
    bare.load_state_dict({name: state[f"features.{name}"].float() for name in bare.state_dict()}, assign=True)
    normalised = torchvision.transforms.functional.normalize(frames[0], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = bare(normalised).permute(0, 2, 3, 1)
    assert torch.allclose(found[0], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(
        SettingsError, match=r"--weights: expected 32 tensors of vgg19 in .*other\.pth, found none named"
    ):
        network("vgg19", models=[{"model": "vgg19", "weights": str(tmp_path / "other.pth")}])


class Brightness(Network):
    """How bright the middle of each picture is, and how loud each part of the sound."""

    def __init__(self, choice: ModelChoice, settings: ExtractSettings, moments: Moments, device: torch.device) -> None:
        self._seen, self._heard = network("resnet18", moments), network("vggish", moments)
        self.fields = (*self._seen.fields, *self._heard.fields)
        self.module = torch.nn.Linear(1, 1)

    def __call__(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        frames, sound = (inputs[field.name] for field in self.fields)
        loud = sound[:, 0].unflatten(1, (frames.shape[1], -1)).abs().amax(2)
        return {"light": frames[:, :, 0, 112, 112], "loud": loud}


def segments_of(video: int) -> tuple[str, dict[str, bytes]]:
    """Four segments, each brighter than the last, of which the labelled ones are heard."""
    pictures = {}
    for place in range(4):
        file = io.BytesIO()
        Image.fromarray(np.full((90, 160, 3), 40 + 60 * place, np.uint8)).save(file, "PNG")
        pictures[f"{place:02d}.jpg"] = file.getvalue()
    tone = (8000 * np.sin(np.arange(RATE_HZ) * 0.2)).astype(np.int16)
    sound = np.concatenate([tone if labels else 0 * tone for labels in LABELS])
    known = SampleMetadata(
        layout="segments",
        video=f"v{video}",
        source="v.mp4",
        frame_times_s=[0.5, 1.5, 2.5, 3.5],
        audio_start_s=0.0,
        audio_rate_hz=RATE_HZ,
        audio_samples=len(sound),
        segment_labels=LABELS,
        split="test",
    )
    media = {"json": known.model_dump_json().encode(), **pictures, "flac": encode_flac(sound[None], RATE_HZ)}
    return f"v{video}_0000", media


def test_features_of_segments_lie_beside_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_shards(tmp_path / "source", [[segments_of(0), segments_of(1)]], "segments")
    monkeypatch.setattr("pipeline.extract.compute.build_network", Brightness)
    settings = ExtractSettings.model_validate({"models": [{"model": "resnet18"}]})
    out, alone = str(tmp_path / "out"), ProcessGroup(0, 0, 1, CPU)
    extract_features(str(source), out, settings, DataSettings(workers=0), alone)
    sample = ShardSet.open(out).read(1)
    light, loud = (decode_array(sample.files[f"{name}.npy"]) for name in ("light", "loud"))
    assert np.allclose(light * 255, [40, 100, 160, 220], atol=1.5)
    assert [bool(one > 0.1) for one in loud] == [bool(labels) for labels in LABELS]
    stored = {"light": {"kind": "stored", "member": "light.npy", "shape": [4]}}
    events = {"events": {"kind": "segment_labels", "segments": 4, "classes": ["dog"]}}
    read = FeatureSettings.model_validate({"inputs": stored | events})
    found = decode_sample(sample, fields_of(read, ("light", "events"), augment=False)).arrays
    assert found["events"][:, 0].tolist() == [0, 0, 1, 1]
    assert found["light"].tolist() == light.astype(np.float32).tolist()


def test_spectrograms_stay_exact_whatever_the_network_computes_in() -> None:
    sound = torch.rand(1, 16000, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.autocast("cpu", torch.bfloat16):
        found = LogMel()(sound)
    assert torch.equal(found, LogMel()(sound))
