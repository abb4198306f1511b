"""Any lists of videos to rows with unique ids: folders, prefixes, datasets' own lists, single videos; local or
s3://."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.choice import Choice
from pipeline.prepare.manifests.fingerprint import fingerprint_of
from pipeline.prepare.manifests.formats.registry import Format
from pipeline.prepare.manifests.labels import Labels
from pipeline.prepare.manifests.list_file import ListFile, Naming
from pipeline.prepare.manifests.merge import Settled, Settler
from pipeline.prepare.manifests.offsets import OffsetFilter
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import NoVideosError, WrongRow
from pipeline.prepare.manifests.source_kind import absolute_place, format_at
from pipeline.prepare.manifests.sources import plain_name
from pipeline.prepare.manifests.splits import REST, SplitShares
from pipeline.prepare.manifests.template import SourceTemplate

__all__ = ["ListOptions", "Noted", "SplitShares", "VideoList"]

_BATCH = 8192
_MOST_EXAMPLES = 20


@dataclass
class Noted:
    """Sentences about rows: how many, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(sentence)


class VideoList:
    """The rows of one or more lists, read anew in each iteration and never held all at once.

    Ids are unique. They are the list's own; for parts of YouTube videos `{youtube}_{start:06d}`, as VGGSound has it;
    for files the file's name, with a piece of a hash of its path where an earlier file has that name. Rows with the
    source and range of an earlier one, or with its own id, are left out and reported.

    Attributes:
        repeated: rows that came again; filled while iterating.
        wrong: wrong rows that were left out, where the options say so; filled while iterating.
        apart: rows that were left out since their sound and picture are apart; filled while iterating.
    """

    def __init__(
        self,
        sources: Sequence[str],
        options: ListOptions | None = None,
        on_note: Callable[[str, str], None] | None = None,
    ) -> None:
        """Look at the sources; no row is read yet.

        Args:
            sources: folders, prefixes, lists or videos.
            options: how lists are to be read.
            on_note: told of each row that is left out: `wrong`, `repeated` or `apart`, and the sentence about it.

        Raises:
            ManifestError: a missing source, a list in no known format, a wrong option.
            StorageError: object storage does not answer.
        """
        self._options = options or ListOptions()
        self._on_note = on_note or (lambda kind, sentence: None)
        self._template = None if self._options.source is None else SourceTemplate(self._options.source)
        self._sounds = None if self._options.sound is None else SourceTemplate(self._options.sound, "--sound")
        self._keypoints = None if self._options.keypoints is None else _keypoints_template(self._options.keypoints)
        if self._sounds is not None and self._template is None:
            raise ManifestError("--sound: expected --source with the place of the images beside it, found none")
        if (self._options.offsets is None) != (self._options.max_offset_s is None):
            raise ManifestError("--offsets, --max-offset: expected both or neither, found one of them")
        self.repeated, self.wrong, self.apart = Noted(), Noted(), Noted()
        self._places: list[tuple[str, Format | None]] = []
        for source in sources:
            place = absolute_place(source)
            form = format_at(place, self._options.format)
            self._places.append((place, form))
        self._check_template()

    @property
    def formats(self) -> list[tuple[str, str]]:
        """Absolute path or URL of each source, and the name of the format that it is read as."""
        return [(place, form.name if form else "video") for place, form in self._places]

    @property
    def split_share(self) -> str | None:
        """What is held out of the rows, as the plan records it."""
        return None if self._options.split_share is None else str(self._options.split_share)

    def fingerprint(self) -> str:
        """SHA-256 that changes when a row may have changed: over the options, the lists' content (and that of files
        that belong to them, such as vocabularies) and the names and sizes in folders. No row is read."""
        return fingerprint_of(self._places, self._options)

    def __iter__(self) -> Iterator[VideoRow]:
        """Rows with unique ids, in the order of the sources.

        Raises:
            ManifestError: a wrong row, as `file:line: expected …, found …`.
            NoVideosError: no rows at all.
            StorageError: object storage does not answer.
        """
        self.repeated, self.wrong, self.apart = Noted(), Noted(), Noted()
        choice = Choice(self._options)
        offsets = self._offset_filter()
        divided = 0
        files: list[ListFile] = []
        begins: list[int] = []

        def name_of(place: int) -> str:
            at = bisect_right(begins, place) - 1
            return files[at].place(place - begins[at])

        def drafts() -> Iterator[Settled]:
            nonlocal divided
            labels, begin, line = Labels(), 0, 0
            shares = self._options.split_share
            for place, form in self._places:
                templates = (self._template, self._sounds, self._keypoints)
                file = ListFile(place, self._options, templates, labels, self._on_wrong)
                files.append(file)
                begins.append(begin)
                rows = iter([_single(place)]) if form is None else form.read(file)
                for line, naming, listed in rows:
                    row = choice.listed(listed)
                    if row is None:
                        continue
                    if shares is not None and self._is_divided(row, file, line):
                        divided += 1
                        row = replace(row, split=shares.split_of(row, naming is Naming.PART))
                    if not choice.takes(row):
                        continue
                    if offsets is not None and (against := offsets.reason_against(row)) is not None:
                        choice.passed_over["sound and picture apart"] += 1
                        self._on_apart(f"{file.place(line)}: {against}")
                        continue
                    yield begin + line, naming, row
                begin += line + 1

        settler = Settler(name_of, self._on_repeated)
        rows, count = drafts(), 0
        while batch := list(islice(rows, _BATCH)):
            kept = settler.settle(batch)
            count += len(kept)
            yield from map(self._with_keypoints, kept)
        choice.check_labels()
        if offsets is not None:
            offsets.check()
        if self._options.split_share is not None and not divided and (count or choice.passed_over):
            names = ", ".join(place for place, _ in self._places)
            raise ManifestError(f"{names}: expected rows without a split or of {REST} for --split-share, found none")
        if not count:
            raise NoVideosError(self._nothing(choice))

    def _with_keypoints(self, row: VideoRow) -> VideoRow:
        """The row, with the place of its keypoints where the user says it and the list does not."""
        if self._keypoints is None or row.keypoints is not None:
            return row
        kind, _, youtube = row.source.partition(":")
        known = youtube if kind == "youtube" else None
        try:
            place = self._keypoints.fill(row.video, known, row.split, row.labels, row.start_s, row.end_s)
        except WrongRow as error:  # of the template, not of this row
            raise ManifestError(str(error)) from None
        return replace(row, keypoints=place)

    def _is_divided(self, row: VideoRow, file: ListFile, line: int) -> bool:
        assert self._options.split_share is not None
        try:
            return self._options.split_share.divides(row)
        except WrongRow as error:  # of the whole list, not of this row
            raise ManifestError(f"{file.place(line)}: {error}") from None

    def _on_wrong(self, sentence: str) -> None:
        if not self._options.skip_wrong:
            raise ManifestError(sentence)
        self.wrong.add(sentence)
        self._on_note("wrong", sentence)

    def _on_repeated(self, sentence: str) -> None:
        self.repeated.add(sentence)
        self._on_note("repeated", sentence)

    def _on_apart(self, sentence: str) -> None:
        self.apart.add(sentence)
        self._on_note("apart", sentence)

    def _offset_filter(self) -> OffsetFilter | None:
        offsets, most_s = self._options.offsets, self._options.max_offset_s
        return None if offsets is None or most_s is None else OffsetFilter(offsets, most_s)

    def _check_template(self) -> None:
        if self._template is None:
            return
        for place, form in self._places:
            if form is None or not form.has_ids:
                what = "a video" if form is None else f"read as {form.name}"
                raise ManifestError(f"--source: expected lists of ids, found {place}, which is {what}")

    def _nothing(self, choice: Choice) -> str:
        names = ", ".join(place for place, _ in self._places) or "no sources"
        if self.wrong.count:
            return (
                f"{names}: expected videos, found {self.wrong.count} wrong rows only, such as {self.wrong.examples[0]}"
            )
        return f"{names}: expected {choice.nothing()}"


def _keypoints_template(text: str) -> SourceTemplate:
    template = SourceTemplate(text if "{" in text or not text else f"{text.rstrip('/')}/{{video}}", "--keypoints")
    template.check_stored()
    return template


def _single(place: str) -> Settled:
    return 0, Naming.FILE, VideoRow(plain_name(place), place)
