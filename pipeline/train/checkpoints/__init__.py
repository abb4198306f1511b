"""Checkpoints that can be trusted, of processes that share no file system.

    RUN/checkpoints/                        a local folder, or s3://
        step-0000001200/
            rank-00000.safetensors          one a process: what it holds of the float32 masters of all parameters (of
                                            teachers and of what is frozen too), of states and of the moving average
                                            of the weights; the first one's has the buffers (see `share`)
            manifest.json                   written last: step, sizes and hashes of all files, which numbers of which
                                            parameter lie where in them (see `saved_state`), settings, world size,
                                            versions, cursor of the data
        latest                              name of the newest, replaced atomically

Each process writes its own file, straight to where the run lies, and tells the main one what is in it; nothing of it is
ever pickled. Whoever goes on, or wants the weights alone, reads by range what the manifest says, from any number of
processes, ZeRO stage and precision; each block that it reads is compared with its hash as it comes. A folder without a
valid manifest is a torn save; nothing is ever read from it.
Random states need no file: dropout, augmentation and pairing are keyed by seed, step and position.
"""

from pipeline.train.checkpoints.find import find_checkpoint, go_on_from
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, Checkpoint, read_manifest

__all__ = [
    "LATEST",
    "MANIFEST",
    "Checkpoint",
    "find_checkpoint",
    "go_on_from",
    "read_manifest",
]
