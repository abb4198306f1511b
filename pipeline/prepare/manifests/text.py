"""Text of list files, local or s3://, plain or gzip, read in blocks."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from cluster import storage
from pipeline.errors import ManifestError

# UTF-32's little-endian mark begins with UTF-16's
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 4 << 20  # a request to object storage costs about as much time as 2 MB


def open_bytes(url: str) -> BinaryIO:
    """The file's content as it is stored, seekable; from object storage it comes in blocks.

    Raises:
        ManifestError: there is no such file, or it may not be read.
        StorageError: object storage does not give it.
    """
    if storage.is_remote(url):
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, storage.open_read(url)), _BLOCK))
    try:
        return open(url, "rb", buffering=1 << 18)
    except FileNotFoundError:
        raise ManifestError(f"{url}: no such file or folder") from None
    except OSError as error:
        raise ManifestError(f"{url}: can't read it: {error.strerror}") from None


@contextmanager
def open_text(url: str) -> Iterator[io.TextIOWrapper]:
    """The file's lines, with their ends. A byte-order mark is dropped and says which Unicode it is; bytes that are no
    UTF-8 become lone surrogates, so that only the row that holds them is wrong.

    Raises:
        ManifestError: there is no such file, it is no gzip though it is named so, or no UTF-16 though it says so.
    """
    with open_bytes(url) as stored:
        content = cast(BinaryIO, gzip.GzipFile(fileobj=stored)) if url.lower().endswith(".gz") else stored
        try:
            start = cast(io.BufferedReader, content).peek(4)[:4]
            encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
            errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
            with io.TextIOWrapper(content, encoding=encoding, errors=errors, newline="") as text:
                yield text
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ManifestError(f"{url}: expected a gzip file, found something else ({error})") from None
        except UnicodeDecodeError as error:
            raise ManifestError(
                f"{url}: expected {error.encoding} text, as its byte-order mark says, found {error.reason}"
            ) from None
