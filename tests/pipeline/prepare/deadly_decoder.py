"""A decoder that ends its own process at one video and hangs at another, as broken files make libraries do."""

import os
import signal
import time

from pipeline.prepare.layouts.sample import PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video


def prepare_or_die(row: VideoRow, settings: PrepareSettings, place: str) -> PreparedVideo:
    """Like `prepare_video`, but dies of a segmentation fault at `video-1` and never returns from `video-2`."""
    if row.video == "video-1":
        os.kill(os.getpid(), signal.SIGSEGV)
    if row.video == "video-2":
        time.sleep(600)
    return prepare_video(row, settings, place)
