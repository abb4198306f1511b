"""VGGish, with which AudioSet's and AVE's published features of sound were made (Hershey et al., "CNN architectures for
large-scale audio classification", 2017)."""

import io
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from cluster import storage
from pipeline.errors import SettingsError
from pipeline.extract.networks.contract import Moments, Network
from pipeline.features.float32 import Float32Buffers
from pipeline.models.contract import Inputs
from pipeline.models.pretrained import Pretrained
from pipeline.models.tensor_file import read_tensors
from pipeline.stream.fields.sound import SoundField
from pipeline.stream.sound_track import SoundFormat

RATE_HZ = 16_000
SECOND = RATE_HZ
FRAMES, BANDS = 96, 64
"""Of the spectrogram that it sees: 0.96 s at 10 ms."""
WINDOW, HOP, FFT = 400, 160, 512
LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0
LOG_FLOOR = 0.01
WIDTH = 128
NAMES = {"AUDIOSET": "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"}
PCA_MEANS, PCA_VECTORS = "pca_means", "pca_eigen_vectors"
_PCA_RANGE = 2.0
_CONVOLUTIONS = ((64,), (128,), (256, 256), (512, 512))
_SMALLEST_S = (WINDOW + (FRAMES - 1) * HOP) / RATE_HZ


def mel_bands() -> Tensor:
    """float64 [257, 64]: triangles over the frequencies of the FFT, evenly spaced in mel = 1127 ln(1 + f / 700), their
    sides straight in mel; the lowest frequency, which has no sound, belongs to none."""

    def mel(hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hz / 700.0)

    lowest, highest = mel(torch.tensor([LOWEST_HZ, HIGHEST_HZ], dtype=torch.float64))
    points = torch.linspace(float(lowest), float(highest), BANDS + 2, dtype=torch.float64)
    found = mel(torch.linspace(0, RATE_HZ / 2, FFT // 2 + 1, dtype=torch.float64))[:, None]
    lower, centre, upper = points[:-2], points[1:-1], points[2:]
    bands = torch.minimum((found - lower) / (centre - lower), (upper - found) / (upper - centre)).clamp(min=0)
    bands[0] = 0
    return bands


class LogMel(Float32Buffers):
    """Waveforms [N, S] at 16 kHz in −1..1 → log-mel spectrograms [N, 96, 64] of their first 96 windows: magnitudes of
    windows of 25 ms every 10 ms, Hann, periodic, zeros behind them up to 512; log(mel + 0.01)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.empty(WINDOW), persistent=False)
        self.register_buffer("bands", torch.empty(FFT // 2 + 1, BANDS), persistent=False)
        self.reset_parameters()

    window: Tensor
    bands: Tensor

    def reset_parameters(self) -> None:
        """Fill the constants, which no file of weights has."""
        if not self.window.is_meta:
            self.window.copy_(torch.hann_window(WINDOW, dtype=torch.float64))
            self.bands.copy_(mel_bands())

    def forward(self, waveforms: Tensor) -> Tensor:
        windows = waveforms.float().unfold(-1, WINDOW, HOP)[:, :FRAMES] * self.window
        with torch.autocast(waveforms.device.type, enabled=False):  # whatever the network computes in
            return torch.log(torch.fft.rfft(windows, FFT).abs() @ self.bands + LOG_FLOOR)


class VGGish(Pretrained):
    """Waveforms [N, S] at 16 kHz → [N, 128]; parameters have the names of the public checkpoint of torchvggish,
    `features.0.weight` … `embeddings.4.bias`."""

    def __init__(self, weights: str | None) -> None:
        super().__init__("vggish", weights)
        self.log_mel = LogMel()
        layers: list[nn.Module] = []
        channels = 1
        for stage in _CONVOLUTIONS:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        cells = (FRAMES // 16) * (BANDS // 16) * channels
        widths = (cells, 4096, 4096, WIDTH)
        linear = [part for ends in pairwise(widths) for part in (nn.Linear(*ends), nn.ReLU())]
        self.embeddings = nn.Sequential(*linear)
        self.torchvision_prefixes = {"features": "features", "embeddings": "embeddings"}

    @property
    def published(self) -> tuple[str, ...]:
        return tuple(NAMES)

    def fetch(self, name: str) -> Mapping[str, Tensor]:
        """See `Pretrained.fetch`."""
        state: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(NAMES[name], progress=False, check_hash=True)
        return state

    def forward(self, waveforms: Tensor) -> Tensor:
        maps = self.features(self.log_mel(waveforms)[:, None])
        # channels last, as the network that the weights come from has them
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # type: ignore[no-any-return]


class Pca(nn.Module):
    """AudioSet's way from 128 numbers to 128 bytes: rotated and whitened, cut at ±2, and rounded to 0–255."""

    def __init__(self, file: str, setting: str) -> None:
        super().__init__()
        for name, values in _read_pca(file, setting).items():
            self.register_buffer(name, values)

    pca_means: Tensor
    pca_eigen_vectors: Tensor

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            whitened = (features.float() - self.pca_means) @ self.pca_eigen_vectors.T
        return ((whitened.clamp(-_PCA_RANGE, _PCA_RANGE) + _PCA_RANGE) * (255 / (2 * _PCA_RANGE))).round()


def _read_pca(file: str, setting: str) -> dict[str, Tensor]:
    if file.endswith(".npz"):
        try:
            with np.load(io.BytesIO(storage.read_bytes(file)), allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in (PCA_MEANS, PCA_VECTORS)}
        except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
            raise SettingsError(f"{setting}: expected VGGish's PCA in {file}: {error}") from None
    else:
        found = read_tensors(file, setting)
    for name, size in ((PCA_MEANS, WIDTH), (PCA_VECTORS, WIDTH * WIDTH)):
        if name not in found or found[name].numel() != size:
            raise SettingsError(f"{setting}: expected {name} of {size} numbers in {file}, found none")
    means, vectors = found[PCA_MEANS].float(), found[PCA_VECTORS].float()
    return {PCA_MEANS: means.reshape(WIDTH), PCA_VECTORS: vectors.reshape(WIDTH, WIDTH)}


class VGGishFeatures(Network):
    """VGGish of the second in the middle of each part of a sample: `audio` [B, T, 128]. Of its 98 windows the network
    sees the first 96.

    Args:
        module: waveforms [N, S] → [N, 128].

    Raises:
        SettingsError: parts are shorter than what it hears.
    """

    def __init__(self, module: nn.Module, moments: Moments) -> None:
        if moments.each_s < _SMALLEST_S:
            raise SettingsError(
                f"--model vggish: expected segments of {_SMALLEST_S:g} s or more, which it hears at once, found "
                f"{moments.each_s:g} s"
            )
        self.module = module
        self._moments, self._part = moments, round(moments.each_s * RATE_HZ)
        sound = SoundFormat(RATE_HZ, moments.count * self._part, 1, resampled=True)
        self._field = SoundField("sound of vggish", sound)
        self.fields = (self._field,)

    def __call__(self, inputs: Inputs) -> Mapping[str, Tensor]:
        parts = inputs[self._field.name].view(-1, self._moments.count, self._part)
        begin = max(0, (self._part - SECOND) // 2)
        heard = parts[..., begin : begin + SECOND]
        found = self.module(heard.flatten(0, 1))
        return {"audio": found.view(*heard.shape[:2], found.shape[-1])}
