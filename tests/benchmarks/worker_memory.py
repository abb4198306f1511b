"""Peak memory of one decoding process on 1080p video, with the thesis' recipe."""

import tempfile
from pathlib import Path

from _looped_video import write_looped
from cluster.isolation import Isolated, peak_resident_mb
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from result import Result

LIMIT_MB = 600.0


def run() -> list[Result]:
    """Two videos of 90 s, one after the other in the same process: keyframe every 10 s, and every 2 s."""
    settings = PrepareSettings()
    peaks = []
    with (
        tempfile.TemporaryDirectory(prefix="gavt-") as folder,
        Isolated(prepare_video, settings.limits.deadline_s, settings.limits.memory_mb) as prepare,
    ):
        for gop in (250, 50):
            path = write_looped(Path(folder) / f"gop-{gop}.mp4", 10, 9, (1920, 1080), gop=gop)
            prepared = prepare(VideoRow(video="video", source=str(path)), settings)
            if len(prepared.samples) != 17:
                raise RuntimeError(f"expected 17 samples, found {len(prepared.samples)}")
            peaks.append(peak_resident_mb(prepare.pid))
    peak = max(peaks)
    peer = f"keyframe every 10 s {peaks[0]:.0f} MB, then every 2 s {peaks[1]:.0f} MB"
    return [Result("worker_memory", peak, "MB", LIMIT_MB, peak <= LIMIT_MB, peer)]
