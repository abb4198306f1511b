"""A small setting of every objective that this project has; one that is added has its line here, and a second one where
another of its settings is another objective.

`tests/pipeline/tasks/test_every_objective.py` keeps what it says for all of them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moving_shards import MOVING, SAMPLES, write_moving_set
from tiny_shards import FEATURES, MODEL, write_shard_set

_EMBEDDER = MODEL["visual_embedder"] | {"norm": "group"}
GAVT = MODEL | {"visual_embedder": _EMBEDDER, "audio_embedder": _EMBEDDER, "dropout": 0.0}
"""A model in which nothing depends on the batch or on the process."""
PARTS = 4
"""Segments of a sample: an LSTM takes its time for each."""
SEE_HEAR = {
    "kind": "see_hear",
    "segments": PARTS,
    "embedders": {"width": 16, "visual_embedder": _EMBEDDER, "audio_embedder": _EMBEDDER},
    "mfb_width": 8,
    "mfb_factors": 2,
    "width": 16,
}
AV_TRANSFORMER = {
    "kind": "av_transformer",
    "segments": PARTS,
    "embedders": {"width": 16, "visual_embedder": _EMBEDDER, "audio_embedder": _EMBEDDER},
    "hidden": 8,
    "event_width": 16,
}
CO_ATTENTION = {
    "kind": "co_attention",
    "sound_widths": [8, 8, 16, 16],
    "frame_width": 8,
    "frame_kernel": [3, 5, 5],
    "frame_strides": [[1, 2], [2, 2]],
    "width": 16,
    "feed_forward": 32,
    "heads": 4,
    "dropout": 0.0,
}
SEGMENTS = MOVING | {"frames": PARTS, "audio_samples": SAMPLES - 1}
"""A whole sample in so many."""
TRIBERT = {
    "kind": "tribert",
    "visual_embedder": _EMBEDDER,
    "classes": 4,
    "graph_widths": [8, 8],
    "sound_widths": [8, 16],
    "norm": "group",
    "visual_width": 16,
    "pose_width": 16,
    "audio_width": 16,
    "shared_width": 16,
    "feed_forward": 16,
    "blocks": 2,
    "heads": 2,
    "dropout": 0.0,
    "segmentation_dropout": 0.0,
}
"""Likewise, with three streams that tokens of their own stand for."""
TRAIN = {"steps": 4, "batch_size": 16, "learning_rate": 1e-3, "log_every": 1, "validate_every": 4}
BLIND = "model={kind: blind}"
"""A word for a model that hears only (`demanding_tasks.py`)."""


def write_samples(folder: Path, samples: int, seed: int) -> Path:
    """Frames with the sound around them."""
    return write_shard_set(folder, samples, seed=seed)


@dataclass(frozen=True)
class Objective:
    """An objective with what it is trained on in the tests.

    Attributes:
        task: its settings.
        refused: words of settings that it can't do with, and a part of the sentence that says so.
        sections: others of the experiment, where they are not the usual ones.
        shards: writes so many samples into a folder, drawn by a seed.
    """

    task: dict[str, Any]
    refused: tuple[tuple[str, str], ...]
    sections: dict[str, Any] = field(default_factory=dict)
    shards: Callable[[Path, int, int], Path] = write_samples

    def words(self, data: Path | None = None) -> list[str]:
        """The whole experiment as words behind an empty file; `data` is the folder of its shard sets."""
        sections: dict[str, Any] = {"features": FEATURES, "model": GAVT, "task": self.task, "train": TRAIN}
        if data is not None:
            sets = {name: str(data / name) for name in ("train", "validation")}
            sections["data"] = sets | {"workers": 0}  # which start in no time
        return [f"{name}={json.dumps(section)}" for name, section in (sections | self.sections).items()]

    def write_data(self, folder: Path) -> Path:
        """Its shard sets in the folder."""
        self.shards(folder / "train", 48, 0)
        self.shards(folder / "validation", 16, 1)
        return folder


OBJECTIVES = {
    "dense_contrastive": Objective(
        {"kind": "dense_contrastive", "group": 4, "mixtures": 0.25},
        ((BLIND, "a model with the streams visual and audio"),),
    ),
    "classification": Objective(
        {"kind": "classification", "classes": ["low", "high"]},
        (
            (BLIND, "task.streams among those of model.kind = blind, audio, found class"),
            ("task.classes=[low]", "at least two classes, or labels = several, found 'low' alone"),
            ("task.classes=[low, low]", "classes that differ, found 'low' twice"),
            ("task.segments=10", "features.frames = task.segments, which is 10, found 1"),
            ("task.class_weights={lo: 2}", "class_weights of classes, found 'lo'"),
        ),
    ),
    "events": Objective(
        {
            "kind": "events",
            "group": 4,
            "classes": ["click", "drum"],
            "segments": PARTS,
            "supervision": "video",
            "mismatched": 0.5,
        },
        (
            (BLIND, "task.streams among those of model.kind = blind, audio, found segments"),
            ("task.supervision=segments", "supervision = video for mismatched, found segments"),
            ("task.group=1", "a group of 2 or more for mismatched, found 1"),
            ("task.segments=10", "features.frames = task.segments, which is 10, found 4"),
            ("model.segments=10", "features.frames = model.segments, which is 10, found 4"),
        ),
        {"features": SEGMENTS, "model": SEE_HEAR},
        write_moving_set,
    ),
    "surest_event": Objective(
        {"kind": "events", "classes": ["click", "drum"], "segments": PARTS, "supervision": "video", "pool": "max"},
        (
            (BLIND, "task.streams among those of model.kind = blind, audio, found segments"),
            ("model.neighbours=[0, 0]", "neighbours that differ, found [0, 0]"),
        ),
        {"features": SEGMENTS, "model": AV_TRANSFORMER},
        write_moving_set,
    ),
    "gram_triplet": Objective(
        {"kind": "gram_triplet", "group": 4, "centred": True},
        (
            (BLIND, "a model with the streams visual_segments and audio_segments for task.kind = gram_triplet"),
            ("model.modalities=visual", "found none audio_segments"),
        ),
        {"features": SEGMENTS, "model": SEE_HEAR},
        write_moving_set,
    ),
    "masked_modelling": Objective(
        {"kind": "masked_modelling", "group": 4, "contrast": 0.1, "decoder": {"width": 16, "feed_forward": 32}},
        (
            (BLIND, "a model whose embedders see frames and spectrograms"),
            ("task.group=1", "a task.group of 2 or more for task.contrast, found 1"),
        ),
    ),
    "mix_and_separate": Objective(
        {"kind": "mix_and_separate", "group": 4, "norm": "group", "widths": [8, 16], "components": 4},
        (
            (BLIND, "a model with the streams visual and audio for task.kind = mix_and_separate, found none visual"),
            ("task={kind: mix_and_separate, group: 2, added: 2}", "added below group = 2"),
        ),
    ),
    "mma": Objective(
        {"kind": "mma", "group": 4, "negatives": "hard", "hard": {"warmup_steps": 2, "share": 0.8}},
        (
            (BLIND, "a model with the streams class, visual and audio"),
            (
                "task.streams=[pose]",
                "a model with the streams pose, visual and audio for task.kind = mma, found none pose",
            ),
            ("task.hard.share=0", "task.hard.share: expected greater than 0"),
        ),
    ),
    "off_screen": Objective(
        {"kind": "off_screen", "group": 4}, ((BLIND, "a model with the streams audio and visual for task.kind"),)
    ),
    "self_distillation": Objective(
        {"kind": "self_distillation", "local_views": 2, "prototypes": 32, "hidden": 16, "bottleneck": 8},
        (
            (BLIND, "a model with the streams class, visual and audio"),
            ("model={kind: towers}", "a model with the streams class, visual and audio"),
            ("task.local_views=3", "an even number of local_views for local_streams = one, found 3"),
            ("task.frame_area=[0.8, 0.2]", "frame_area of two shares in 0–1, the smaller first, found 0.8 and 0.2"),
        ),
    ),
    "separate_and_classify": Objective(
        {
            "kind": "separate_and_classify",
            "group": 4,
            "classes": ["low", "high"],
            "norm": "group",
            "dropout": 0.0,
            "widths": [8, 16, 24],
        },
        (
            (BLIND, "a model with the streams visual and audio for task.kind = separate_and_classify"),
            ("task.classes=[low, low]", "classes that differ, found 'low' twice"),
            ("task.group=1", "task.group: expected greater than or equal to 2"),
        ),
        {"features": FEATURES | {"inputs": {"keypoints": {"kind": "keypoints", "missing": "zeros"}}}, "model": TRIBERT},
    ),
    "several": Objective(
        {
            "kind": "several",
            "tasks": {
                "first": {"task": {"kind": "mma", "group": 4}, "weight": 0.5},
                "later": {
                    "task": {"kind": "mma", "group": 8, "pairs": "both", "negatives": "ranks"},
                    "from_step": 1,
                    "ramp_steps": 2,
                },
            },
        },
        ((BLIND, "a model with the streams class, visual and audio"),),
    ),
    "synchronisation": Objective(
        {
            "kind": "synchronisation",
            "group": 4,
            "range_s": 0.1,
            "jitter_s": 0.01,
            "classes": 5,
            "segments": 4,
            "width": 16,
        },
        (
            (BLIND, "a model with the stream visual for task.kind = synchronisation, found audio"),
            ("features.frames=3", "features.frames of 4 or more for task.kind = synchronisation, found 3"),
            ("task.range_s=0.5", "task.range_s below the 0.37 s that the frames take, found 0.5"),
            ("task.classes=4", "an odd number as classes, found 4"),
            ("task.least_s=0.05", "answer = in_sync for least_s and both, found offset with 0.05, False"),
        ),
        {"features": MOVING},
        write_moving_set,
    ),
    "in_sync": Objective(
        {
            "kind": "synchronisation",
            "answer": "in_sync",
            "both": True,
            "range_s": 0.1,
            "least_s": 0.05,
            "classes": 3,
            "segment_weight": 0,
            "clip_weight": 0,
        },
        ((BLIND, "a model with the stream visual for task.kind = synchronisation, found audio"),),
        {"features": MOVING, "model": CO_ATTENTION},
        write_moving_set,
    ),
}
