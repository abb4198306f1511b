"""A trained model that is asked about videos."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np
import torch

from pipeline.api.clip import Video, as_file
from pipeline.api.hub import place_of, push_to_hub, save_pretrained
from pipeline.api.offsets import offset_of
from pipeline.api.results import Embeddings, Events, Localization, Match, Offset, SeparatedSounds
from pipeline.errors import SettingsError, of_video
from pipeline.evaluate.device import pick_device
from pipeline.evaluate.events.track import tell_events, told_of
from pipeline.evaluate.offset.by_model import ModelDetector
from pipeline.evaluate.offset.judge import Judged
from pipeline.evaluate.overlay.heard_moments import HeardMoments, heard_moments
from pipeline.evaluate.overlay.localize import map_video
from pipeline.evaluate.overlay.sound_spans import sound_spans
from pipeline.evaluate.overlay.track import match_of
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints, check_inputs
from pipeline.evaluate.run_files import config_of
from pipeline.evaluate.separating.by_place import SoundByPlace, separator_of
from pipeline.evaluate.separating.own_sound import OwnSound
from pipeline.evaluate.separating.places import REST, places_at
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiment import ExperimentSettings
from pipeline.models.pooling import pooled
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import KeypointSettings, PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.settings.load import load_settings
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.load import Trained, load_trained


def load(checkpoint: str | PathLike[str], device: str | None = None, overrides: Sequence[str] = ()) -> "Model":
    """A trained model, in float32.

    Args:
        checkpoint: a run folder, a folder of checkpoints, one checkpoint or an export; a path or a URL (`s3://`, `gs://`,
            `hf://`), or `owner/name` (`owner/name@revision`) of a model on the Hugging Face Hub.
        device: `auto` (the first GPU where there is one), `cpu`, `cuda`, `cuda:1`; by default what the run's settings
            say, which is `auto` unless set. On a CPU torch takes as many threads as `torch.set_num_threads` says.
        overrides: of the run's settings, as behind the command's `--set`: `evaluate.geometry=squash`.

    Raises:
        CheckpointError: nothing there, damaged weights, or weights that don't fit the settings beside them.
        SettingsError: no such device or setting.
    """
    url = find_checkpoint(place_of(fspath(checkpoint))).url
    settings = load_settings(config_of(url), ExperimentSettings, overrides).settings
    trained = load_trained(url, pick_device(device or settings.evaluate.device))
    return Model(trained, settings.evaluate, settings.prepare.keypoints)


@dataclass(frozen=True)
class Model:
    """A trained model, and how it is read out. It holds no state of a video: any number of threads may ask it.

    Videos are paths, URLs or a `Clip`. `keypoints`, for a model that takes such, is the path or URL of those that
    AlphaPose, OpenPose or another tool found in one: a JSON file or a folder, as `gavt prepare` takes them; a model
    that was trained with `missing: zeros` may do without. Sound that is shorter than the model hears at once is
    repeated. All methods raise `MediaError` where a video is none with sound, or can't be decoded, or its keypoints
    can't be read; and `SettingsError` where the model takes something else.

    Attributes:
        reading_keypoints: how files of keypoints are read.
    """

    trained: Trained
    settings: EvaluateSettings
    reading_keypoints: KeypointSettings

    @property
    def checkpoint(self) -> str:
        """Folder of the checkpoint."""
        return self.trained.url

    @property
    def step(self) -> int:
        """Of training, that it is from."""
        return self.trained.step

    @classmethod
    def from_pretrained(
        cls, name: str | PathLike[str], device: str | None = None, overrides: Sequence[str] = ()
    ) -> "Model":
        """`gavt.load`."""
        return load(name, device, overrides)

    def save_pretrained(self, folder: str | PathLike[str], license: str | None = None) -> None:
        """Write the model to hand on into a new folder: `model.safetensors`, `config.json`, the run's `config.yaml` and
        `evaluation.json`, and a model card with every row of that, controls too, in `README.md`.

        Args:
            folder: a path or a URL, which `gavt.load` takes.
            license: of the weights, as the Hub calls it: `apache-2.0`.

        Raises:
            CheckpointError: the folder is in use.
        """
        save_pretrained(self.checkpoint, fspath(folder), license=license)

    def push_to_hub(
        self,
        repository: str,
        private: bool = False,
        license: str | None = None,
        message: str | None = None,
        token: str | None = None,
    ) -> str:
        """Put what `save_pretrained` writes into a repository of the Hugging Face Hub, which is made where there is
        none (`pip install 'gavt[hub]'`). Gives the address of the commit; `gavt.load(repository)` loads it anywhere.

        Args:
            repository: `owner/name`.
            private: where it is made.
            message: of the commit.
            token: of the account; by default that of HF_TOKEN or of `hf auth login`.

        Raises:
            SettingsError: huggingface_hub is not installed, or it is no name of a repository.
            StorageError: the Hub refuses, or does not answer.
        """
        return push_to_hub(self.checkpoint, repository, private, license, message, token)

    def localize(
        self,
        video: Video,
        every_s: float = 0.5,
        readout: str | None = None,
        keypoints: str | PathLike[str] | None = None,
    ) -> Localization:
        """Where the sound of a video comes from.

        Args:
            every_s: seconds between two maps.
            readout: how maps are made; by default what `gavt evaluate` chose for the run.

        Raises:
            SettingsError: no such readout, or one that this model can't be read out by.
        """
        with as_file(video) as source, of_video(source):
            found = self._found(keypoints)
            track, name = map_video(source, self.trained, self.settings, _step(every_s), readout, found)
        return Localization(**track.arrays, readout=name)  # type: ignore[arg-type]  # each has the dtype of its field

    def events(self, video: Video) -> Events:
        """What is seen and heard in a video, when, and where; of any length.

        Raises:
            SettingsError: a model that doesn't tell segments.
        """
        told_of(self.trained)
        check_inputs(self.trained, None)
        with as_file(video) as source, of_video(source):
            track = tell_events(source, self.trained, self.settings)
        arrays = track.arrays | {"segment_s": track.segment_s}
        return Events(track.rows, **arrays)  # type: ignore[arg-type]  # each has the dtype of its field

    def offset(self, video: Video) -> Offset:
        """By how much sound and picture of a video are apart, as a model tells that was trained by synchronisation; in
        the middle 90 s. `gavt.offset` needs no model.

        Raises:
            SettingsError: a model that doesn't tell offsets.
        """
        detector = ModelDetector.of(self.trained)
        with as_file(video) as source, of_video(source):
            clips = prepare_video(VideoRow(source, source), detector.clip_settings(PrepareSettings())).samples
            return offset_of(Judged(detector.judge(clips), detector.within_s))

    def separate(
        self,
        video: Video,
        at: Mapping[str, Sequence[float]] | Sequence[Sequence[float]] | None = None,
        keypoints: str | PathLike[str] | None = None,
    ) -> SeparatedSounds:
        """The sound of each place of a video, which is held in memory: ten minutes in stereo are 0.2 GB a place.

        Args:
            at: points (x, y) or boxes (x1, y1, x2, y2) in 0–1 of the upright frame, by name or as `place_1`, `place_2`
                …; None for those that the model finds, or for `in_sight`, all that it sees, where its mask is of the
                whole frame.

        Raises:
            SettingsError: a model that separates nothing, or not by places, or a place that it doesn't see.
        """
        places = None if at is None else places_at(at)
        check_inputs(self.trained, found := self._found(keypoints))
        separator_of(self.trained, places)
        with as_file(video) as source, of_video(source):
            sound = OwnSound.of(source)
            by_place = SoundByPlace.of(sound, self.trained, self.settings, places, found)
            sounds = torch.cat([piece.sounds for piece in by_place], dim=-1).numpy()
        names = [place.name for place in by_place.places]
        boxes = {place.name: place.box_at(0.0) for place in by_place.places}
        return SeparatedSounds(dict(zip([*names, REST], sounds, strict=True)), sound.rate_hz, boxes)

    @torch.no_grad()
    def embed(self, video: Video, every_s: float = 0.5, keypoints: str | PathLike[str] | None = None) -> Embeddings:
        """Moments of a video as vectors: of the frame, of the sound around it, and of both.

        Args:
            every_s: seconds between two moments.
        """
        times, vectors = list[float](), list[dict[str, torch.Tensor]]()
        for heard in self._moments(video, every_s, keypoints):
            times += heard.times_s
            vectors.append({name: one.cpu() for name, one in pooled(self.trained.system.model, heard.inputs).items()})
        names = vectors[0]
        return Embeddings(np.array(times), {name: torch.cat([one[name] for one in vectors]).numpy() for name in names})

    def score(self, video: Video, every_s: float = 0.5, keypoints: str | PathLike[str] | None = None) -> Match:
        """How well sound and frame of a video belong together, moment by moment.

        Args:
            every_s: seconds between two moments.

        Raises:
            SettingsError: the model's objective gives no such answer.
        """
        system = self.trained.system
        if not system.task.matches:
            raise SettingsError(
                f"{self.checkpoint}: expected a model that tells whether sound and frame belong together, found one "
                f"trained by {self.trained.settings.task.kind}, which gives no such answer"
            )
        times, match = list[float](), list[float]()
        for heard in self._moments(video, every_s, keypoints):
            times += heard.times_s
            match += match_of(system, heard.inputs)
        return Match(np.array(times), np.array(match))

    def _found(self, keypoints: str | PathLike[str] | None) -> FoundKeypoints | None:
        return None if keypoints is None else FoundKeypoints(fspath(keypoints), self.reading_keypoints)

    def _moments(self, video: Video, every_s: float, keypoints: str | PathLike[str] | None) -> Iterator[HeardMoments]:
        check_inputs(self.trained, found := self._found(keypoints))
        features, geometry = self.trained.settings.features, self.settings.shown_geometry
        with as_file(video) as source, of_video(source):
            spans = sound_spans(source)
            yield from heard_moments(source, spans, features, _step(every_s), self.trained.device, geometry, found)


def _step(every_s: float) -> float:
    if not 0.001 <= every_s < float("inf"):
        raise SettingsError(f"every_s: expected seconds between two moments, 0.001 or more, found {every_s}")
    return every_s
