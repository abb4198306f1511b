"""A checkpoint as plain safetensors, from which a run can go on.

    OUT/                            a run folder: `gavt train CONFIG --run OUT` goes on in it
        config.yaml
        checkpoints/
            step-0000001200/
                model.safetensors       weights (float32 masters) and buffers
                exp_avg.safetensors     first moments
                exp_avg_sq.safetensors  second moments
                ema.safetensors         moving average of the weights, where there is one
                rank-00000.json         where each parameter lies
                manifest.json
            latest

A run goes on from DeepSpeed's files on any number of processes, at any ZeRO stage and in any precision without this.
It is for handing a run on: nothing in it is pickled, so that whoever gets it needs no trust, nor the same DeepSpeed;
and for a second run that branches off. Equal to the bit.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.settings.yaml_text import dump_yaml
from pipeline.train.checkpoints.export import described
from pipeline.train.checkpoints.find import find_checkpoint
from pipeline.train.checkpoints.layout import (
    AVERAGE,
    LATEST,
    MANIFEST,
    WEIGHTS,
    manifest_text,
    rank_file,
    step_folder,
)
from pipeline.train.checkpoints.local_folders import check_new_folder, new_folder, verified_copy
from pipeline.train.checkpoints.saved_settings import saved_settings
from pipeline.train.checkpoints.saved_state import SavedState
from pipeline.train.checkpoints.weights_file import write_weights
from pipeline.train.engine.fragments import EMA, MASTER, MOMENTS
from pipeline.train.run_settings import CONFIG

_FILES = {MASTER: WEIGHTS, EMA: AVERAGE} | {kind: f"{kind}.safetensors" for kind in MOMENTS}


@dataclass(frozen=True)
class Converted:
    """What was written where."""

    checkpoint: str
    out: str
    step: int
    bytes: int


def convert(url: str, out: str) -> Converted:
    """Write a checkpoint (path or URL, of a run or a step) as plain safetensors to a new run folder (path or URL).

    Raises:
        CheckpointError: no checkpoint there, a damaged one, an export, or an `out` that is in use.
    """
    checkpoint = find_checkpoint(url)
    saved_settings(checkpoint)  # which are of this version
    if not checkpoint.has(rank_file(0)):
        raise CheckpointError(f"{checkpoint.url}: expected a checkpoint to go on from, found an export: weights alone")
    check_new_folder(out)  # before all that is read
    with verified_copy(checkpoint) as source, new_folder(out) as run:
        saved = SavedState(source, checkpoint.manifest["world_size"])
        target = step_folder(run / "checkpoints", checkpoint.step)
        target.mkdir(parents=True)
        rows: dict[str, dict[str, object]] = {
            name: {"name": name, "shape": shape, "dtype": str(saved.dtypes[name]).removeprefix("torch."), "start": 0}
            | {"size": saved.size(name), "kinds": {}}
            for name, shape in saved.shapes.items()
        }
        for kind in saved.kinds():
            shapes = {name: shape for name, shape in saved.shapes.items() if saved.has(name, kind)}
            write_weights(target / _FILES[kind], target, shapes, saved.dtypes, partial(saved.whole, kind=kind))
            for name in shapes:
                kinds = rows[name]["kinds"]
                assert isinstance(kinds, dict)
                kinds[kind] = [_FILES[kind], [name], 0]
        (target / rank_file(0)).write_text(
            json.dumps({"files": [], "fragments": list(rows.values())}), encoding="utf-8"
        )
        files = described(target)
        manifest = dict(checkpoint.manifest) | {"world_size": 1, "files": [asdict(file) for file in files]}
        (run / CONFIG).write_text(dump_yaml(checkpoint.manifest["settings"]), encoding="utf-8")
        storage.write_text(target / MANIFEST, manifest_text(manifest))
        storage.write_text(target.parent / LATEST, target.name)
    return Converted(checkpoint.url, out, checkpoint.step, sum(file.bytes for file in files))
