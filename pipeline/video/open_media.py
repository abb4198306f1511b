"""Opening media that others made: the one place where FFmpeg is given bytes that nobody vouches for.

FFmpeg takes a file for what its first bytes say, whatever its name is, and some of its formats are lists of other files
and addresses (HLS, DASH, concat, SDP): a text of twenty bytes that is called `a.mp4` makes it read any local file or
open a connection. So only the formats below are known here, and nothing is opened but what was asked for.
"""

from collections.abc import Mapping
from typing import IO

import av
from av.container import InputContainer

# formats that hold pictures or sound themselves; those with sound only are needed too, to say that a video has none
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,mpegvideo,asf,ogg,mxf,nut,dv,rm,gif,h264,hevc,m4v,ivf,"
    "wav,mp3,flac,aac,aiff,au,caf,amr,ac3,eac3,ape,wv"
)
_NO_PROTOCOL = "none"  # bytes come through Python


def open_container(
    source: str | IO[bytes], *, format: str | None = None, options: Mapping[str, str] | None = None
) -> InputContainer:
    """Open a media file to read it.

    Args:
        source: absolute path of a local file, or an open file of any kind.
        format: the only one that it may be in; any of the known ones unless given.
        options: more options of FFmpeg.

    Raises:
        av.FFmpegError: it is in none of the formats, or damaged, or can't be read.
    """
    local = isinstance(source, str)
    container: InputContainer = av.open(
        # "file:" keeps FFmpeg from taking a colon in a name for a protocol
        f"file:{source}" if local else source,
        format=format,
        options={
            **(options or {}),
            "format_whitelist": _FORMATS,
            "protocol_whitelist": "file" if local else _NO_PROTOCOL,
        },
        metadata_errors="replace",
    )
    return container
