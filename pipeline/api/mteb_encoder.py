"""A trained model as an encoder of MTEB, the benchmark of embeddings (extra `mteb`): in its tasks in which sounds look
for videos or pictures and these for sounds, its figures stand beside those of other models.

    import gavt, mteb
    from gavt.mteb_encoder import MtebEncoder

    tasks = mteb.get_tasks(tasks=["VGGSoundAVA2VRetrieval", "VGGSoundAVV2ARetrieval"])
    mteb.evaluate(MtebEncoder(gavt.load("runs/mine")), tasks)

Files are decoded by gavt, as in training: torchcodec, with which `datasets` would, isn't needed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from av.video.reformatter import VideoReformatter

from pipeline.api.model import Model
from pipeline.api.results import Float32
from pipeline.errors import MediaError, SettingsError
from pipeline.evaluate.embeddings import embedded_widths
from pipeline.features.frame_times import FrameTimes
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.models.contract import AUDIO, VISUAL
from pipeline.models.pooling import Stage, pooled
from pipeline.reasons import Reason
from pipeline.sound.sound import cut_at_rate, decode_sound
from pipeline.stream.squares import Cut, open_image, square_of_frame, square_of_image
from pipeline.video.clip_frames import ClipFrames
from pipeline.video.video_file import read_file

_STREAMS = {"video": VISUAL, "image": VISUAL, "audio": AUDIO}
"""By MTEB's name of a column."""
_ROWS = 16
"""Whose files are in memory together."""


class MtebEncoder:
    """What MTEB asks of an encoder. A video or a sound is one vector: the mean over moments that lie evenly in it, as
    many as the model's sound fits into it, of the vectors of each, all of length 1. What has both a video and a sound
    is the mean of the two.

    Args:
        stage: which vectors, as of `pipeline.models.pooling`.
        moments: at most.

    Raises:
        SettingsError: the model doesn't embed frames and sounds into vectors of one width, or has no such stage.
    """

    def __init__(self, model: Model, stage: Stage = "embedded", moments: int = 8) -> None:
        self._model, self._stage, self._moments = model, stage, moments
        self._features = model.trained.settings.features
        widths = embedded_widths(model.trained)
        if widths.get(VISUAL) is None or widths.get(VISUAL) != widths.get(AUDIO):
            found = ", ".join(f"{name} of width {width}" for name, width in widths.items())
            raise SettingsError(
                f"{model.checkpoint}: expected frames and sounds as vectors of one width, found {found}"
            )
        self._width = widths[VISUAL]

    @property
    def mteb_model_meta(self) -> Any:
        """What MTEB writes beside the figures."""
        from mteb.models.model_meta import ModelMeta

        settings = self._model.trained.settings
        return ModelMeta.create_empty(
            {
                "name": f"gavt/{settings.name}",
                "revision": f"step-{self._model.step}-{self._stage}",
                "modalities": ["audio", "image", "video"],
                "similarity_fn_name": "cosine",
                "embed_dim": self._width,
                "framework": ["PyTorch"],
                "n_parameters": sum(one.numel() for one in self._model.trained.system.parameters()),
            }
        )

    def encode(self, inputs: Any, *, task_metadata: Any = None, **_: Any) -> Float32:
        """Vectors [N, D] of length 1 of the rows behind a loader of MTEB, whose columns `video`, `image` and `audio`
        are files.

        Raises:
            SettingsError: there are none of these.
            MediaError: a file that can't be decoded.
        """
        dataset, task = inputs.dataset, getattr(task_metadata, "name", "mteb")
        columns = [name for name in dataset.column_names if name in _STREAMS]
        if not columns:
            found = ", ".join(dataset.column_names)
            raise SettingsError(
                f"{task}: expected sounds, videos or pictures, found {found}; a model of gavt reads no text"
            )
        files = dataset.select_columns(columns).with_format("arrow")  # as they are stored: bytes or a path
        vectors = []
        for start in range(0, len(dataset), _ROWS):
            for number, row in enumerate(files[start : start + _ROWS].to_pylist(), start):
                each = [self._embed(column, file, f"{task}, row {number}, {column}") for column, file in row.items()]
                vectors.append(F.normalize(torch.stack(each).mean(0), dim=0))
        return np.asarray(torch.stack(vectors).numpy(), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines [N, M]."""
        one, other = (F.normalize(torch.as_tensor(some).float(), dim=-1) for some in (embeddings1, embeddings2))
        return one @ other.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines [N]."""
        return F.cosine_similarity(torch.as_tensor(embeddings1).float(), torch.as_tensor(embeddings2).float(), dim=-1)

    @torch.no_grad()
    def _embed(self, column: str, file: Any, called: str) -> torch.Tensor:
        """The vector [D] of one file."""
        content, kind = _content(file, called)
        try:
            inputs = {"video": self._frames, "image": self._still, "audio": self._sounds}[column](content, kind)
        except ValueError as error:
            raise MediaError(Reason.DAMAGED, f"{called}: {error}") from error
        on_device = {name: values.to(self._model.trained.device) for name, values in inputs.items()}
        found, name = pooled(self._model.trained.system.model, on_device), f"{self._stage}/{_STREAMS[column]}"
        if name not in found:
            stages = ", ".join(dict.fromkeys(one.partition("/")[0] for one in found))
            raise SettingsError(f"{self._model.checkpoint}: stage: expected one of {stages}, found {self._stage}")
        return F.normalize(F.normalize(found[name], dim=1).mean(0), dim=0).cpu()

    @property
    def _sound_s(self) -> float:
        return self._features.audio_samples / self._features.audio_rate_hz

    def _middles_s(self, length_s: float) -> list[float]:
        """Middles of the moments of what is so long."""
        count = min(max(round(length_s / self._sound_s), 1), self._moments)
        return [(number + 0.5) / count * length_s for number in range(count)]

    def _frames(self, content: bytes, kind: str) -> Mapping[str, torch.Tensor]:
        """`frames` [M, T, 3, K, K] of a video."""
        features, clip = self._features, ClipFrames(content, kind)
        offsets = FrameTimes(features.frames, features.frame_rate_hz, self._sound_s).offsets_s
        wanted = [[clip.shown_at(middle + offset) for offset in offsets] for middle in self._middles_s(clip.end_s)]
        numbers = sorted({number for some in wanted for number in some})
        squares = np.zeros((len(numbers), 3, features.frame_size, features.frame_size), np.uint8)
        scaler, cut = VideoReformatter(), Cut(self._model.settings.shown_geometry)
        for square, frame in zip(squares, clip.decode(numbers), strict=True):
            square_of_frame(frame, cut, square, clip.display_of(frame), scaler)
        return {FRAMES: torch.from_numpy(squares[np.searchsorted(numbers, wanted)]).float() / 255}

    def _still(self, content: bytes, kind: str) -> Mapping[str, torch.Tensor]:
        """`frames` [1, T, 3, K, K] of a picture, all the same."""
        features = self._features
        square = np.zeros((3, features.frame_size, features.frame_size), np.uint8)
        square_of_image(open_image(content, features.frame_size), Cut(self._model.settings.shown_geometry), square)
        return {FRAMES: torch.from_numpy(square).float().expand(1, features.frames, -1, -1, -1) / 255}

    def _sounds(self, content: bytes, kind: str) -> Mapping[str, torch.Tensor]:
        """`sound` [M, C, S]; a shorter one lies in the middle of silence."""
        features, sound = self._features, decode_sound(content, kind, self._features.audio_channels)
        length_s = sound.samples_at(features.audio_rate_hz) / features.audio_rate_hz
        free_s = max(length_s - self._sound_s, 0.0)
        cuts = []
        for middle in self._middles_s(length_s):
            start = min(max(middle - self._sound_s / 2, 0.0), free_s) if free_s else (length_s - self._sound_s) / 2
            cuts.append(cut_at_rate(sound, sound.start_s + start, features.audio_samples, features.audio_rate_hz))
        return {SOUND: torch.from_numpy(np.stack(cuts)).float() / 32768}


def _content(file: Any, called: str) -> tuple[bytes, str]:
    """A file's bytes, and what its name ends with."""
    if not isinstance(file, Mapping) or not (file.get("bytes") or file.get("path")):
        raise SettingsError(
            f"{called}: expected a file, as of datasets' Audio, Video or Image, found {type(file).__name__}"
        )
    path = str(file.get("path") or "")
    return file.get("bytes") or read_file(path), path.rpartition(".")[2].lower() if "." in path else "a file"
