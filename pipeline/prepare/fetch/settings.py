"""How videos that lie elsewhere are fetched."""

from typing import Any

from pydantic import Field

from cluster import storage
from pipeline.settings.base import Settings


class FetchSettings(Settings):
    """Downloads of `gavt prepare`. They say how the bytes come here, not what is made of them: they may change when a
    shard set is gone on with."""

    store: str | None = Field(default=None, min_length=1)
    """Folder or `s3://` prefix that keeps what was downloaded, so that no later run downloads it again; in a folder,
    partial downloads are gone on with. null keeps a video only until its samples are made."""
    ahead: int = Field(default=4, ge=1, le=64)
    """Videos of a shard that are fetched at the same time. Raise it where servers are slow and decoding waits; every
    worker fetches this many, and their files lie in its scratch folder."""
    per_host_rate_hz: float | None = Field(default=None, gt=0)
    """Most requests that are begun per second and host, by all workers of a run together; null is no limit. A video
    through yt-dlp counts as one, its own pauses are `yt_dlp_options: {sleep_interval_requests: …}`. YouTube blocks
    addresses that ask much faster than one video every few seconds."""
    attempts: int = Field(default=6, ge=1)
    """Attempts in a row that brought nothing new before a video is given up as `unreachable`."""
    patience_s: float = Field(default=1800.0, gt=0)
    """Longest time (s) spent on one video; waiting for its turn at the host does not count."""
    stall_s: float = Field(default=30.0, gt=0)
    """A connection that brings nothing for this long (s) is given up and tried again."""
    min_bytes_per_s: float = Field(default=1000.0, ge=0)
    """A connection that is slower than this over `stall_s` is given up and tried again."""
    longest_wait_s: float = Field(default=300.0, ge=0)
    """A server that asks to come back later (`Retry-After`) than this (s) makes the video `unreachable` at once."""
    max_gb: float = Field(default=20.0, gt=0)
    """Largest download (GB, unpacked); a video that is larger, or has no end, is given up as `too_large`. A worker's
    scratch folder needs room for `ahead` + 1 of them."""
    internal_redirects: bool = False
    """Follow redirects of public servers to this machine, its network and its cloud's own services. What a list itself
    names may lie anywhere."""
    cookies: str | None = None
    """File of cookies as browsers export them (Netscape's `cookies.txt`), for videos that need a sign-in."""
    user_agent: str | None = None
    """What requests call themselves; null is gavt's own name, and yt-dlp's where yt-dlp asks."""
    max_height: int = Field(default=720, ge=1)
    """yt-dlp: the best format that is no higher than this (pixels), else the lowest. A little more than
    `prepare.frame_height` is enough."""
    yt_dlp_options: dict[str, Any] = Field(default_factory=dict)
    """More options of yt-dlp's `YoutubeDL`, such as `{proxy: "socks5://127.0.0.1:1080"}`; they win over gavt's."""
    youtube_url: str = "https://www.youtube.com/watch?v="
    """What comes before the id in a source `youtube:ID`."""
    youtube8m_url: str = "http://data.yt8m.org/2/j/i"
    """Where YouTube-8M says which video a source `youtube8m:ABCD` is."""

    def with_absolute_paths(self) -> "FetchSettings":
        """The same for a process that has another working folder."""
        paths = {name: path for name in ("store", "cookies") if (path := getattr(self, name)) is not None}
        return self.model_copy(update={name: storage.absolute(path) for name, path in paths.items()})
