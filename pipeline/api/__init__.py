"""gavt as a library: what `import gavt` gives. Its functions are those that the verbs of the command call.

    import gavt

    model = gavt.load("runs/quickstart")
    found = model.localize("concert.mp4")        # where the sound comes from, moment by moment
    sounds = model.separate("concert.mp4", at={"violin": (0.3, 0.6)})
    vectors = model.embed("concert.mp4")
    belongs = model.score("concert.mp4")
    happens = gavt.load("runs/events").events("concert.mp4")

    gavt.load("owner/name")                      # from the Hugging Face Hub; model.push_to_hub("owner/name")
    made = gavt.prepare("~/my_videos", "shards/train")
    batches = gavt.stream("s3://bucket/train", 256)  # for a trainer of one's own, in exact order; batches.state_dict()

    gavt.score_maps(maps, "vggss", "vggss.json")  # maps that any model made, by the figures of a benchmark
    gavt.score_boxes(maps, boxes)                 # or against boxes of one's own

Videos are paths, URLs (`s3://`, `gs://`, `hf://`) or arrays (`Clip`); what comes back is numpy. Wrong input raises a
`UserError`, whose message is the sentence that the command would end with.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the modules are imported when they are asked for: the command imports this package too
    from cluster.errors import StorageError, UserError
    from pipeline.api.clip import Clip
    from pipeline.api.maps import score_boxes, score_maps
    from pipeline.api.model import Model, load
    from pipeline.api.offsets import offset
    from pipeline.api.preparing import prepare
    from pipeline.api.results import Embeddings, Events, Localization, Match, Offset, SeparatedSounds
    from pipeline.api.streaming import FileStream, SampleStream, stream, webdataset_source
    from pipeline.errors import BenchmarkError, CheckpointError, MediaError, SettingsError
    from pipeline.evaluate.benchmarks.score import BenchmarkScore
    from pipeline.prepare.manifests.options import ListOptions
    from pipeline.shards.dataset import Dataset

__all__ = [
    "BenchmarkError",
    "BenchmarkScore",
    "CheckpointError",
    "Clip",
    "Dataset",
    "Embeddings",
    "Events",
    "FileStream",
    "ListOptions",
    "Localization",
    "Match",
    "MediaError",
    "Model",
    "Offset",
    "SampleStream",
    "SeparatedSounds",
    "SettingsError",
    "StorageError",
    "UserError",
    "load",
    "offset",
    "prepare",
    "score_boxes",
    "score_maps",
    "stream",
    "webdataset_source",
]

_MODULES = {
    "cluster.errors": ("StorageError", "UserError"),
    "pipeline.api.clip": ("Clip",),
    "pipeline.api.maps": ("score_boxes", "score_maps"),
    "pipeline.api.model": ("Model", "load"),
    "pipeline.api.offsets": ("offset",),
    "pipeline.api.preparing": ("prepare",),
    "pipeline.api.results": ("Embeddings", "Events", "Localization", "Match", "Offset", "SeparatedSounds"),
    "pipeline.api.streaming": ("FileStream", "SampleStream", "stream", "webdataset_source"),
    "pipeline.errors": ("BenchmarkError", "CheckpointError", "MediaError", "SettingsError"),
    "pipeline.evaluate.benchmarks.score": ("BenchmarkScore",),
    "pipeline.prepare.manifests.options": ("ListOptions",),
    "pipeline.shards.dataset": ("Dataset",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("gavt")
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
