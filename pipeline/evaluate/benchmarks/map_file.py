"""Maps that a model made, in one `.npz`: a member a map, `ID` [h, w] of any size over the whole frame; and, if they are
given, how sure the model is that what is heard is seen, `confidence:ID`, one number each."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from cluster.masking import shown
from pipeline.errors import BenchmarkError
from pipeline.prepare.manifests.text import open_bytes

CONFIDENCE = "confidence:"
_MEMBER = ".npy"
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    KeyError,
)
"""What numpy and zipfile raise for damaged members."""


class MapFile(Mapping[str, npt.NDArray[np.floating]]):
    """Maps by id, each read when it is asked for.

    Raises:
        BenchmarkError: the file is no `.npz`; when asked for, a map that can't be read or is none.
    """

    def __init__(self, url: str) -> None:
        self._url, self._file = url, open_bytes(url)
        try:
            stored = np.load(self._file, allow_pickle=False)
        except _UNREADABLE as error:
            raise BenchmarkError(f"{url}: expected an .npz with a map an id, found something else") from error
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise BenchmarkError(f"{url}: expected an .npz with a map an id, found a single array")
        self._stored = stored
        members = Counter(() if stored.zip is None else stored.zip.namelist())
        for member, count in members.items():
            if not member.endswith(_MEMBER) or count > 1:
                found = f"{shown(member)} twice" if count > 1 else f"{shown(member)}, which is no array"
                raise BenchmarkError(f"{url}: expected an .npz with a map an id, found {found}")
        names = [member.removesuffix(_MEMBER) for member in members]
        if not names:
            raise BenchmarkError(f"{url}: expected an .npz with a map an id, found nothing in it")
        self._ids = dict.fromkeys(name for name in names if not name.startswith(CONFIDENCE))
        self._sure = {name[len(CONFIDENCE) :] for name in names if name.startswith(CONFIDENCE)}

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    def __getitem__(self, name: str) -> npt.NDArray[np.floating]:
        if name not in self._ids:
            raise KeyError(name)
        return checked_map(self._read(name), f"{self._url}: {name}")

    def confidences(self, ids: Iterable[str]) -> dict[str, float] | None:
        """Of these samples; None where the file has no confidence of any.

        Raises:
            BenchmarkError: it has some, but not of all, or one is no number.
        """
        if not self._sure:
            return None
        found = {}
        for name in ids:
            if name not in self._sure:
                raise BenchmarkError(f"{self._url}: expected {CONFIDENCE}{name} beside the others, found none")
            value = self._read(CONFIDENCE + name)
            if value.size != 1 or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
                raise BenchmarkError(
                    f"{self._url}: {CONFIDENCE}{name}: expected one finite number, found {shown(value)}"
                )
            found[name] = float(value.reshape(())[()])
        return found

    def _read(self, member: str) -> npt.NDArray[np.generic]:
        try:
            array: npt.NDArray[np.generic] = self._stored[member]
        except _UNREADABLE as error:
            raise BenchmarkError(f"{self._url}: {member}: expected an array, found something else ({error})") from None
        return array


def checked_map(values: npt.ArrayLike, place: str) -> npt.NDArray[np.floating]:
    """A map [h, w] of floats.

    Raises:
        BenchmarkError: it is none.
    """
    try:
        values = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise BenchmarkError(f"{place}: expected a map [h, w] of numbers, found none ({error})") from None
    if values.ndim != 2 or not values.size or values.dtype.kind not in "biuf":
        raise BenchmarkError(f"{place}: expected a map [h, w] of numbers, found {values.dtype} {list(values.shape)}")
    if values.dtype in (np.float32, np.float64):
        return values
    return values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
