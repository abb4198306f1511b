"""Which rows of lists are taken: those of a split, of videos that other lists name, of labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.labels import Labels
from pipeline.prepare.manifests.list_file import ListFile
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.source_kind import absolute_place, format_at
from pipeline.settings.explain import did_you_mean


class Choice:
    """What the options choose out of the rows of one reading.

    Attributes:
        passed_over: why rows were not taken → how many.
    """

    def __init__(self, options: ListOptions) -> None:
        """Read the lists of splits.

        Raises:
            ManifestError: one can't be read, or says no split.
            StorageError: object storage does not answer.
        """
        self._options = options
        self._listed = splits_in(options.split_lists)
        self._labels, self._seen = frozenset(options.labels), set[str]()
        self.passed_over: Counter[str] = Counter()

    def listed(self, row: VideoRow) -> VideoRow | None:
        """The row in the split that the lists of splits give it; None where they leave it out."""
        if not self._options.split_lists:
            return row
        split = self._listed.get(row.video)
        if split is None:
            self.passed_over["videos that no --split-list names"] += 1
            return None
        return replace(row, split=split)

    def takes(self, row: VideoRow) -> bool:
        """Whether a row of a known split is taken: of the split asked for, and with none but the labels asked for."""
        wanted = self._options.split
        if self._labels:
            self._seen.update(row.labels)
        if wanted is not None and row.split != wanted:
            self.passed_over[row.split or "no split"] += 1
            return False
        if self._labels and not (row.labels and self._labels.issuperset(row.labels)):
            self.passed_over["other labels"] += 1
            return False
        return True

    def check_labels(self) -> None:
        """See, when all rows are read, that each label asked for was there.

        Raises:
            ManifestError: one was not.
        """
        for label in self._options.labels:
            if self._seen and label not in self._seen:
                hint = did_you_mean(label, sorted(self._seen))
                raise ManifestError(f"--label: expected labels of the lists, found {label!r}{hint}")

    def nothing(self) -> str:
        """What was expected and found where no row was taken."""
        split = self._options.split
        found = ", ".join(f"{why} ({count})" for why, count in self.passed_over.most_common(5))
        return f"videos{'' if split is None else f' of the split {split}'}, found {found or 'none'}"


def splits_in(sources: Sequence[str]) -> dict[str, str]:
    """The split of each video, by its id, out of lists that name videos; a list's split is in its rows or its name.

    Raises:
        ManifestError: no list that can be read, one without a split, or a video in two splits.
        StorageError: object storage does not answer.
    """
    splits: dict[str, str] = {}
    for source in sources:
        place = absolute_place(source)
        form = format_at(place, None)
        if form is None:
            raise ManifestError(f"--split-list: expected a list of videos, found {place}, which is a video")
        file = ListFile(place, ListOptions(need_places=False), (None, None, None), Labels(), _refuse)
        for line, _, row in form.read(file):
            if row.split is None:
                raise ManifestError(
                    f"{file.place(line)}: --split-list expects a split in its rows or in the list's name, such as "
                    f"music21_train.csv, found none for {row.video}"
                )
            known = splits.setdefault(row.video, row.split)
            if known != row.split:
                raise ManifestError(
                    f"{file.place(line)}: --split-list expects each video in one split, found {row.video} in "
                    f"{row.split}, which is in {known} already"
                )
    return splits


def _refuse(sentence: str) -> None:
    raise ManifestError(sentence)
