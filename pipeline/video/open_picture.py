"""Opening pictures that others made: the one place where Pillow is given bytes that nobody vouches for.

Pillow takes a picture for what its first bytes say, and some of its formats start other programs (EPS: Ghostscript). So
the formats that are meant are always named. A picture of a few kilobytes may claim any size, so its header is looked at
before a pixel is decoded.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from pipeline.video.damage import errors_are_damage

MOST_PIXELS = 64_000_000
"""Of a picture, twice as many as 8K has: 192 MB when it is decoded."""

IMAGE_HEAD = 12
"""Bytes by which a file is known for an image."""
WITH_SOUND = "; gavt prepare takes images whose sounds a list names, or --sound beside a list"


def is_image(head: bytes) -> bool:
    """Whether a file that begins so is a JPEG, PNG or WebP."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


@contextmanager
def open_picture(content: bytes, formats: Sequence[str] = ("JPEG",)) -> Iterator[Image.Image]:
    """A picture whose header was read; its pixels are decoded by what the block does with it. Whatever is wrong with
    the picture, in the block too, becomes a `ValueError`.

    Args:
        formats: what it may be, in Pillow's names.

    Raises:
        ValueError: another format, damaged, or of more than `MOST_PIXELS`.
    """
    with errors_are_damage():
        try:
            image = Image.open(io.BytesIO(content), formats=list(formats))
        except UnidentifiedImageError:
            raise ValueError(f"expected {' or '.join(formats)}, found something else") from None
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"expected at most {MOST_PIXELS:,} pixels, found {image.width}×{image.height}")
            yield image
