"""Where the videos of a list of ids lie, or what belongs to them: the sounds of images, keypoints."""

import difflib
import os
import string

from cluster import storage
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.sources import absolute_source

FIELDS = ("video", "youtube", "split", "label", "start", "end")


class SourceTemplate:
    """A path or URL with fields that are filled in for each row.

    `{video}` is the row's id, `{youtube}` its YouTube id, `{split}` its split, `{label}` its first label, `{start}` and
    `{end}` its range in seconds; `{start:06d}` writes whole seconds with six digits. So VGGSound's files are
    `/data/vggsound/{youtube}_{start:06d}.mp4`, and Kinetics'
    `/data/{split}/{label}/{youtube}_{start:06d}_{end:06d}.mp4`.

    Attributes:
        has_start: it holds `{start…}`.
        has_video: it holds `{video}`.
    """

    def __init__(self, text: str, option: str = "--source") -> None:
        """Read a template, which was given as `option`.

        Raises:
            ManifestError: braces that don't match, an unknown field, or none at all.
        """
        self._option = option
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        except ValueError as error:
            raise ManifestError(f"{option} {text!r}: expected fields such as {{video}}, found {error}") from None
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        for name in fields:
            if name not in FIELDS:
                near = difflib.get_close_matches(name, FIELDS, n=1)
                hint = f"; did you mean {{{near[0]}}}?" if near else ""
                raise ManifestError(f"{option} {text!r}: expected fields out of {known}, found {{{name}}}{hint}")
        if not {"video", "youtube"} & set(fields):
            raise ManifestError(
                f"{option} {text!r}: expected {{video}} or {{youtube}} in it, found {fields or 'no fields'}"
            )
        try:
            place = absolute_source(text, f"{os.getcwd()}/") if text else text
        except WrongRow as error:
            raise ManifestError(f"{option} {text!r}: {error}") from None
        self._text = place if storage.is_remote(place) else os.path.abspath(place)
        self.has_start, self.has_video = "start" in fields, "video" in fields
        try:
            self.fill("video", "youtube", "split", ("label",), 0.0, 10.0)
        except ValueError as error:
            raise ManifestError(
                f"{option} {text!r}: expected a way to write a value such as 06d, found {error}"
            ) from None

    def check_stored(self) -> None:
        """See that nothing has to be downloaded.

        Raises:
            ManifestError: it is an address on the web.
        """
        if not self._text.startswith("/") and not storage.is_stored(self._text):
            raise ManifestError(f"{self._option}: expected files here or on object storage, found {shown(self._text)}")

    def fill(
        self,
        video: str,
        youtube: str | None,
        split: str | None,
        labels: tuple[str, ...],
        start_s: float | None,
        end_s: float | None,
    ) -> str:
        """The row's path or URL.

        Raises:
            WrongRow: the row lacks what a field asks for.
        """
        label = labels[0] if labels else None
        values = {"video": video, "youtube": youtube, "split": split, "label": label}
        values = {name: value for name, value in values.items() if value is not None}
        ranges = {name: _Seconds(value) for name, value in (("start", start_s), ("end", end_s)) if value is not None}
        try:
            return self._text.format(**values, **ranges)
        except KeyError as error:
            missing = error.args[0]
            raise WrongRow(
                f"expected a {missing} for {{{missing}}} in {self._option}, found none for {shown(video)}"
            ) from None


class _Seconds(float):
    """A time that is written `30` or `30.5`, and as whole seconds where the format asks for an integer."""

    def __format__(self, spec: str) -> str:
        if spec.endswith("d"):
            return format(int(self), spec)
        if not spec:
            return str(int(self)) if self.is_integer() else repr(float(self))
        return super().__format__(spec)
