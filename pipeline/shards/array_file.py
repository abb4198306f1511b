"""Arrays of numbers as members of a sample: `{key}.NAME.npy`, numpy's own format."""

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

SUFFIX = "npy"
MEMBER = r"[a-z0-9_-]+(\.[a-z0-9_-]+)*"
"""What NAME may be: no more than tars of others, and readers of them, take."""
_MOST_HEADER = 4096
_NUMBERS = "fiub"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def encode_array(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a member: the same for the same array."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def decode_array(content: bytes) -> npt.NDArray[Any]:
    """The array of a member, which looks into `content`: nothing is copied, and nothing that a header claims is
    allocated.

    Raises:
        ValueError: it is no array of numbers, or cut off.
    """
    file = io.BytesIO(content)
    try:
        read_header = _HEADERS[np.lib.format.read_magic(file)]
        shape, by_columns, dtype = read_header(file, max_header_size=_MOST_HEADER)
    except (ValueError, KeyError, EOFError) as error:
        raise ValueError(f"expected an array as numpy.save writes it ({' '.join(str(error).split())})") from None
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"expected an array of numbers, found {dtype}")
    there, needed = len(content) - file.tell(), math.prod(shape) * dtype.itemsize
    if there != needed:
        raise ValueError(f"expected {needed} bytes of {dtype} {list(shape)}, found {there}")
    flat = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    return flat.reshape(shape, order="F" if by_columns else "C")
