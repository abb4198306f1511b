"""Checkpoints that can be trusted.

    RUN/checkpoints/
        step-0000001200/
            deepspeed/            DeepSpeed's own files: parameters, optimiser states, of each process its share
            ema-00000.pt          one a process: its share of the weights' moving average, where train.ema_decay asks
                                  for one
            masters-00000.pt      one a process, in 16 bits: its share of the float32 masters of a task's teachers and
                                  of what is frozen
            swapped-00000.pt      one a process, with offload = nvme: its states, which DeepSpeed's files then lack
            rank-00000.json       one a process: its files with sizes and hashes, and where in them each parameter's
                                  master weights and moments lie
            zero_to_fp32.py …     DeepSpeed's own tools for its files
            model.safetensors     all weights in float32, readable without DeepSpeed and without unpickling
            ema.safetensors       their moving average, where there is one
            manifest.json         written last: step, sizes and hashes of all files, settings, world size, versions,
                                  cursor of the data
        latest                    name of the newest, replaced atomically

A folder without a valid manifest is a torn save; nothing is ever read from it. Random states need no file: dropout,
augmentation and pairing are keyed by seed, step and position.
"""

from pipeline.train.checkpoints.find import find_checkpoint, newest_checkpoint
from pipeline.train.checkpoints.layout import AVERAGE, LATEST, MANIFEST, WEIGHTS, Checkpoint, read_manifest

__all__ = [
    "AVERAGE",
    "LATEST",
    "MANIFEST",
    "WEIGHTS",
    "Checkpoint",
    "find_checkpoint",
    "newest_checkpoint",
    "read_manifest",
]
