"""Memory of one decoding process over a thousand videos, never renewed: what libraries leak would add up."""

import tempfile
from pathlib import Path

from barcode_video import write_video
from cluster.isolation import Isolated, resident_mb
from pipeline.prepare.layouts.sample import PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from result import Result

VIDEOS = 1000
SETTLED = 100
MOST_GROWTH = 1.1
SETTINGS = PrepareSettings(min_clip_s=1, frame_rate_hz=0.5, audio_samples=22050, frame_choice="exact")
_KINDS = {
    "h264.mp4": {},
    "h265.mkv": {"codec": "libx265"},
    "vp9.webm": {"codec": "libvpx-vp9", "audio_codec": "libopus"},
    "mpeg4.avi": {"codec": "mpeg4", "audio_codec": "libmp3lame"},
    "av1.mp4": {"codec": "libsvtav1"},
}


def run() -> list[Result]:
    """Resident memory after 100 and after 1 000 videos of five codecs, every tenth one cut off."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        files = [write_video(Path(folder) / name, 8, size=(640, 360), **how) for name, how in _KINDS.items()]
        cut = Path(folder) / "cut.mp4"
        cut.write_bytes(files[0].read_bytes()[: files[0].stat().st_size // 3])
        used: list[float] = []
        with Isolated(prepare_video, 60, 4000) as prepare:
            for number in range(VIDEOS):
                path = cut if number % 10 == 9 else files[number % len(files)]
                _prepare(prepare, path)
                used.append(resident_mb(prepare.pid) or 0.0)
    growth = max(used[SETTLED:]) / max(used[:SETTLED])
    peer = f"after {SETTLED} videos {used[SETTLED - 1]:.0f} MB, after {VIDEOS} {used[-1]:.0f} MB"
    return [Result("thousand_videos memory", growth, "", MOST_GROWTH, growth <= MOST_GROWTH, peer)]


def _prepare(prepare: Isolated[[VideoRow, PrepareSettings], PreparedVideo], path: Path) -> None:
    from pipeline.errors import MediaError

    try:
        prepared = prepare(VideoRow("video", str(path)), SETTINGS)
    except MediaError:
        if path.name != "cut.mp4":
            raise
        return
    if not prepared.samples:
        raise RuntimeError(f"{path}: expected samples, found none")
