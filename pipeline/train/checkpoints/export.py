"""A trained model to hand on.

    DIR/
        model.safetensors     all weights in float32: their moving average, where the run keeps one
        config.yaml           the run's settings
        manifest.json         step, settings, sizes and hashes, as of a checkpoint
        README.md             how to load it

It loads without DeepSpeed and without unpickling: `gavt.load(DIR)`, `gavt evaluate DIR`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from types import MappingProxyType
from typing import Any

from cluster import storage
from pipeline.settings.yaml_text import dump_yaml
from pipeline.train.checkpoints.find import find_checkpoint
from pipeline.train.checkpoints.layout import MANIFEST, WEIGHTS, Checkpoint, manifest_text
from pipeline.train.checkpoints.local_folders import new_folder
from pipeline.train.checkpoints.model_weights import exported_file, is_average, plain_type
from pipeline.train.checkpoints.saved_settings import saved_settings
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.checkpoints.share import header_of, tensor_entry
from pipeline.train.checkpoints.share_reader import bytes_of
from pipeline.train.engine.fragments import EMA, MASTER
from pipeline.train.run_settings import CONFIG

CARD = "README.md"
_NONE: Mapping[str, str] = MappingProxyType({})
_README = """# {name}, step {step}

{what} of the run `{name}` after {step} steps, in float32.

With this project's code:

    import gavt
    model = gavt.load("{folder}")              # model.localize("video.mp4"), .embed, .score

    gavt evaluate {folder} --data SHARDS
    gavt localize VIDEO --checkpoint {folder}

The numbers alone, without it:

    from safetensors.torch import load_file
    weights = load_file("{folder}/{file}")     # by name, as in the model's state_dict

`config.yaml` holds all settings of the run, `manifest.json` the SHA-256 of each file.
"""


@dataclass(frozen=True)
class Exported:
    """What was written where.

    Attributes:
        weights: `average` or `raw`.
        bytes: of all files.
    """

    checkpoint: str
    out: str
    step: int
    weights: str
    bytes: int


def export(url: str, out: str, raw: bool = False, texts: Mapping[str, str] = _NONE) -> Exported:
    """Write a checkpoint's model (path or URL, of a run or a step) to the folder `out` (path or URL).

    Args:
        raw: take the weights themselves where there is a moving average too.
        texts: more files by their names; one called README.md stands in the place of the usual one.

    Raises:
        CheckpointError: no checkpoint there, a damaged one, or an `out` that is in use.
    """
    checkpoint = find_checkpoint(url)
    settings = saved_settings(checkpoint)
    average = is_average(checkpoint, raw)
    with new_folder(out) as folder:
        _write_weights(checkpoint, raw, folder / WEIGHTS)
        (folder / CONFIG).write_text(dump_yaml(checkpoint.manifest["settings"]), encoding="utf-8")
        what = "Moving average of the weights" if average else "Weights"
        words = {
            "name": settings.name,
            "step": checkpoint.step,
            "what": what,
            "folder": out,
            "file": WEIGHTS,
        }
        for name, text in {CARD: _README.format(**words), **texts}.items():
            (folder / name).write_text(text, encoding="utf-8")
        files: list[dict[str, Any]] = [
            {"name": file.name, "bytes": file.stat().st_size, "sha256": storage.sha256(file)}
            for file in sorted(folder.iterdir())
        ]
        kept = {key: checkpoint.manifest[key] for key in ("step", "world_size", "settings", "versions")}
        manifest = kept | {"weights": "average" if average else "raw", "state": {}, "files": files}
        storage.write_text(folder / MANIFEST, manifest_text(manifest))
    size = sum(file["bytes"] for file in files)
    return Exported(checkpoint.url, out, checkpoint.step, "average" if average else "raw", size)


def _write_weights(checkpoint: Checkpoint, raw: bool, file: Path) -> None:
    """Write the weights to a file, a few parameters in memory at a time."""
    if checkpoint.is_export:
        with exported_file(checkpoint) as before:
            copyfile(before, file)
        return
    saved, average = SavedState(checkpoint), is_average(checkpoint, raw)
    kinds = {
        name: EMA if average and saved.has(name, EMA) else MASTER for name in saved.shapes if saved.has(name, MASTER)
    }
    entries, starts, at = {}, {}, 0
    # what is widest lies first, so that all numbers begin at multiples of their width
    for name in sorted(kinds, key=lambda name: -plain_type(saved.dtypes[name]).itemsize):
        dtype = plain_type(saved.dtypes[name])
        entries[name], starts[name] = tensor_entry(dtype, saved.shapes[name], at), at
        at = entries[name]["data_offsets"][1]
    header = header_of(entries)
    with file.open("wb") as target:
        target.write(header)
        for name, numbers in saved.one_by_one(kinds):
            target.seek(len(header) + starts[name])
            target.write(bytes_of(numbers.to(plain_type(numbers.dtype))))
