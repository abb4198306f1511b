"""By how much sound and picture of a video are apart, as a model tells that was trained by synchronisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from pipeline.errors import MediaError, SettingsError
from pipeline.evaluate.offset.detector import Apart
from pipeline.evaluate.overlay.video_keypoints import check_inputs
from pipeline.prepare.layouts.sample import EncodedSample
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.members import Sample
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.registry import fields_of
from pipeline.tasks.synchronisation import Synchronisation
from pipeline.tasks.task import objective
from pipeline.train.load import Trained

_FPS = 30


@dataclass(frozen=True)
class ModelDetector:
    """Asks a model about all clips of a video, one behind the other, each as long as what the model takes."""

    trained: Trained
    task: Synchronisation

    @classmethod
    def of(cls, trained: Trained) -> "ModelDetector":
        """
        Raises:
            SettingsError: it can't tell offsets.
        """
        check_inputs(trained, None)
        task = objective(trained.system.task, Synchronisation)
        if task is None or task.settings.answer != "offset" or not task.settings.offset_weight:
            raise SettingsError(
                f"{trained.url}: expected a model that was trained to tell offsets (task.kind = synchronisation, "
                f"task.answer = offset), found task.kind = {trained.settings.task.kind}"
            )
        return cls(trained, task)

    @property
    def within_s(self) -> float:
        """From a class of offsets to the next."""
        return self.task.settings.step_s

    def clip_settings(self, settings: PrepareSettings) -> PrepareSettings:
        """How a video is cut into clips for it."""
        features = self.trained.settings.features
        fps = features.frame_rate_hz or _FPS
        longest_s = max(one.span_s for one in fields_of(features, self.trained.settings.model.fields, augment=False))
        return settings.model_copy(
            update={
                "layout": "clip",
                "clip_s": (ceil(longest_s * fps) + 1) / fps,
                "clip_fps": fps,
                "frame_height": max(features.frame_size, 16),
                "audio_rate_hz": features.audio_rate_hz,
                "channels": features.audio_channels,
                "silence_dbfs": None,
            }
        )

    @torch.no_grad()
    def judge(self, clips: Sequence[EncodedSample]) -> Apart:
        """What it says of the clips of a video.

        Raises:
            MediaError: `damaged`, a clip can't be read.
        """
        system, device = self.trained.system, self.trained.device
        fields = fields_of(self.trained.settings.features, self.trained.settings.model.fields, augment=False)
        told = []
        for clip in clips:
            try:
                arrays = decode_sample(_opened(clip), fields).arrays
            except ValueError as error:
                raise MediaError(Reason.DAMAGED, str(error)) from error
            inputs = {
                one.name: one.on_device(torch.from_numpy(arrays[one.name][None]).to(device), None) for one in fields
            }
            told.append(self.task.offset_logits(system.model, system.model.embed(inputs))[0].cpu())
        return apart_of(torch.stack(told), self.task.settings.offsets_s)


def apart_of(logits: Tensor, offsets_s: Sequence[float]) -> Apart:
    """What is told by the logits [clips, K] of the classes that a sound is that of so many seconds later: then it comes
    so much earlier. Clips of a video are much alike, so that many are no surer than their mean."""
    chances = logits.log_softmax(1).mean(0).softmax(0)
    surest = int(chances.argmax())
    return Apart(0.0 - offsets_s[surest], float(chances[surest]))


def _opened(clip: EncodedSample) -> Sample:
    metadata = SampleMetadata.model_validate_json(clip.files["json"])
    return Sample(clip.key, metadata, [], clip.files["flac"], clip.files["mp4"])
