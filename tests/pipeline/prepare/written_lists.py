"""Lists that a test writes, and their rows."""

from pathlib import Path

from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.manifests.row import VideoRow


def put(path: Path, content: str | bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(*sources: Path | str, **options: object) -> list[VideoRow]:
    return list(VideoList([str(source) for source in sources], ListOptions(**options)))
