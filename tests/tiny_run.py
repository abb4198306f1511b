"""A tiny world in shards and a run with random weights: what evaluating needs, without preparing or training."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from pipeline.experiment import ExperimentSettings
from pipeline.features.settings import AugmentSettings, FeatureSettings
from pipeline.models.settings import ConvolutionEmbedderSettings, GavtSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.settings.load import dump_settings
from pipeline.sound.flac import encode_flac
from pipeline.train.load import untrained
from written_shards import write_shards as write_shard_set

NAMES = ("violin", "drum", "flute", "piano")
RATE_HZ, SAMPLES = 8000, 4095


def tiny_experiment(data: str | None = None, validation: str | None = None) -> ExperimentSettings:
    embedder = ConvolutionEmbedderSettings(widths=(8, 16, 16, 16))
    return ExperimentSettings.model_validate(
        {
            "name": "tiny",
            "data": {"train": data, "validation": validation, "workers": 0},
            "features": FeatureSettings(
                frame_size=32,
                audio_rate_hz=RATE_HZ,
                audio_samples=SAMPLES,
                stft_frame=254,
                stft_hop=128,
                frequency_bins=32,
                augment=AugmentSettings(),
            ).model_dump(),
            "model": GavtSettings(
                visual_embedder=embedder,
                audio_embedder=embedder,
                width=16,
                feed_forward=32,
                layers=2,
                heads=2,
                dropout=0.0,
                norm_first=True,
            ).model_dump(),
        }
    )


def tiny_separator(**task: Any) -> ExperimentSettings:
    """The same model with a mask for each place."""
    mixing = {"kind": "mix_and_separate", "widths": [4, 4], "components": 2, "pool": "mean", **task}
    return ExperimentSettings.model_validate(tiny_experiment().model_dump(mode="json") | {"task": mixing})


def write_shards(folder: Path, rows: list[dict[str, Any]], seed: int = 0, size: tuple[int, int] = (60, 40)) -> str:
    """A shard set of one shard; each row gives sample metadata to override. Samples whose video is given are called
    after it, as gavt prepare calls them.

    Args:
        seed: of pixels and sound; videos of another seed are others.
        size: width and height of the frames: the square matters where they differ.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    samples = []
    for number, row in enumerate(rows):
        key = f"{row['video']}_{number:04d}" if "video" in row else f"sample-{number:04d}"
        metadata = SampleMetadata.model_validate(
            {
                "video": f"video-{seed}-{number}",
                "source": f"world-{seed}/{key}.mp4",
                "frame_times_s": [1.0],
                "audio_start_s": 0.5,
                "audio_rate_hz": RATE_HZ,
                "audio_samples": SAMPLES,
                **row,
            }
        )
        pixels = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
        for x1, y1, x2, y2 in metadata.boxes or []:
            rows_of, columns_of = slice(int(y1 * height), int(y2 * height)), slice(int(x1 * width), int(x2 * width))
            pixels[rows_of, columns_of] = (250, 120, 20)
        jpeg = io.BytesIO()
        Image.fromarray(pixels).save(jpeg, "JPEG", quality=95)
        audio = rng.integers(-8000, 8000, (1, SAMPLES), dtype=np.int16)
        files = {
            "json": metadata.model_dump_json().encode(),
            "jpg": jpeg.getvalue(),
            "flac": encode_flac(audio, RATE_HZ),
        }
        samples.append((key, files))
    return str(write_shard_set(folder, [samples]))


def located_rows(count: int) -> list[dict[str, Any]]:
    """Rows in pairs of the same image with different sounds."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        left = 0.25 + 0.1 * (number % 4)
        names = [NAMES[number % 4], NAMES[(number // 2 * 2 + 1 - number % 2) % 4]]
        box = [left, 0.2, left + 0.2, 0.6]
        rows.append({"labels": names[:1], "visible": names, "boxes": [box], "group": f"image-{number // 2}"})
    return rows


def write_run(folder: Path, settings: ExperimentSettings, step: int = 30, spoil: bool = False, seed: int = 1) -> str:
    """A run folder with one checkpoint of random weights, drawn by `seed`; `spoil` makes the head's no numbers."""
    checkpoint = folder / "checkpoints" / f"step-{step:010d}"
    checkpoint.mkdir(parents=True)
    weights = checkpoint / "model.safetensors"
    state = untrained(settings, "cpu", seed).state_dict()
    spoilt = {name: value * float("nan") for name, value in state.items() if spoil and name.startswith("task.")}
    save_file(state | spoilt, weights)
    listed = {"name": weights.name, "bytes": weights.stat().st_size}
    listed["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    manifest = {
        "version": 1,
        "step": step,
        "world_size": 1,
        "state": {},
        "settings": settings.model_dump(mode="json"),
        "versions": {"gavt": "0.1.0", "torch": "2.14.1", "deepspeed": "0.19.8"},
        "files": [listed],
    }
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    (folder / "checkpoints" / "latest").write_text(checkpoint.name)
    (folder / "config.yaml").write_text(dump_settings(settings))
    return str(folder)
