"""A small TriBERT, with weights of seed 0."""

from pipeline.features.settings import FeatureSettings
from pipeline.models.build import build_on
from pipeline.models.tribert.model import Tribert
from pipeline.models.tribert.settings import TribertSettings
from tiny_shards import FEATURES

FRAMES, STEPS = 3, 12
POSE = {"kind": "keypoints", "frames": STEPS}
SMALL = {
    "visual_embedder": {"kind": "convolution", "widths": [8, 16, 16]},
    "classes": 5,
    "graph_widths": [8, 16],
    "sound_widths": [4, 8, 8],
    "visual_width": 32,
    "pose_width": 24,
    "audio_width": 16,
    "shared_width": 16,
    "feed_forward": 20,
    "blocks": 2,
    "heads": 2,
}


def built(**changes):
    settings = TribertSettings.model_validate(changes)
    features = FeatureSettings.model_validate(FEATURES | {"frames": FRAMES, "inputs": {"keypoints": POSE}})
    assert settings.reason_against(features) is None
    return Tribert(settings, features, {"keypoints": (STEPS, 2, 68, 3)})


def small(**changes):
    return build_on("cpu", 0, lambda: built(**(SMALL | changes))).eval()
