"""A list file that is being read: what its reader needs to know, and where its wrong rows go."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from functools import cached_property
from io import TextIOWrapper

from cluster import storage
from cluster.masking import shown
from pipeline.prepare.manifests.head import read_head
from pipeline.prepare.manifests.labels import Labels
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.sources import absolute_source
from pipeline.prepare.manifests.template import SourceTemplate
from pipeline.prepare.manifests.text import open_text


class Naming(Enum):
    """Where a row's id comes from, and so what happens when an earlier row has it already."""

    OWN = "own"
    """The list gives it: the row is reported as repeated."""
    PART = "part"
    """Made from a YouTube id and perhaps a range: the later one gets -2."""
    FILE = "file"
    """The file's name: the later one gets a piece of a hash of its path."""


Draft = tuple[int, Naming, VideoRow]
"""A row as its list has it: its line (or its number, for lists without lines), where its id comes from, the row."""


class ListFile:
    """A source of rows.

    Attributes:
        url: absolute path or URL.
        options: how it is to be read.
        labels: the labels of all lists of the run.
    """

    def __init__(
        self,
        url: str,
        options: ListOptions,
        templates: tuple[SourceTemplate | None, SourceTemplate | None, SourceTemplate | None],
        labels: Labels,
        on_wrong: Callable[[str], None],
    ) -> None:
        """Take as `templates` where videos, sounds and keypoints lie."""
        self.url, self.options, self.labels, self._on_wrong = url, options, labels, on_wrong
        self._template, self._sounds, self._keypoints = templates
        self._unit = ":"

    @cached_property
    def delimiter(self) -> str:
        """What separates the cells of its rows."""
        return read_head(self.url).delimiter

    @property
    def has_template(self) -> bool:
        """Whether the user says where videos with ids lie."""
        return self._template is not None

    def number_rows(self, unit: str = "row") -> None:
        """Places are numbers of rows instead of lines."""
        self._unit = f": {unit} "

    def place(self, line: int) -> str:
        """A row's place as messages name it."""
        return f"{self.url}{self._unit}{line}" if line else self.url

    def open_text(self) -> AbstractContextManager[TextIOWrapper]:
        """Its lines."""
        return open_text(self.url)

    def beside(self, name: str) -> str:
        """Path or URL of a file in the same folder."""
        return storage.join(self.url.rpartition("/")[0], name)

    def wrong(self, line: int, sentence: str | WrongRow) -> None:
        """Report a wrong row; comes back only where wrong rows are left out.

        Raises:
            ManifestError: the row ends the run.
        """
        self._on_wrong(f"{self.place(line)}: {sentence}")

    def source(self, text: str) -> str:
        """Absolute path or URL of a video that the list names; paths are relative to the list."""
        return absolute_source(text, self.url)

    def stored(self, text: str, name: str) -> str:
        """Absolute path or URL of what the list names as `name` beside a video.

        Raises:
            WrongRow: it would have to be downloaded.
        """
        place = absolute_source(text, self.url)
        if place.startswith("/") or storage.is_stored(place):
            return place
        raise WrongRow(f"{name}: expected a file here or on object storage, found {shown(text)}")

    def row_of_id(
        self,
        video: str,
        youtube: str | None,
        labels: tuple[str, ...],
        split: str | None,
        start_s: float | None = None,
        end_s: float | None = None,
        *,
        download: str | None = None,
        names_part: bool = True,
        segment_labels: tuple[tuple[str, ...], ...] | None = None,
        boxes: tuple[tuple[float, float, float, float], ...] | None = None,
        frame_s: float | None = None,
        sound: str | None = None,
        group: str | None = None,
    ) -> VideoRow:
        """A row of a video that the list names by an id.

        Args:
            download: source without a template; None is `youtube:ID`, empty where nobody knows one.
            names_part: the id of a row with a range is that of the part, not of the whole video.
            sound: without a template for it, the sound of an image.

        Raises:
            WrongRow: nobody knows where the video is.
        """
        if self._sounds is not None:
            sound = self.stored(self._sounds.fill(video, youtube, split, labels, start_s, end_s), "sound")
        keypoints = None
        if self._keypoints is not None:
            keypoints = self._keypoints.fill(video, youtube, split, labels, start_s, end_s)
        if self._template is None:
            source = (f"youtube:{youtube}" if youtube else "") if download is None else download
            if not source and self.options.need_places:
                raise WrongRow(
                    "expected --source with the place of the videos, such as /data/{video}.mp4, "
                    f"found none, and {shown(video)} does not say where it is on YouTube"
                )
            source = source or f"unknown:{video}"
        else:
            source = self._template.fill(video, youtube, split, labels, start_s, end_s)
            cut = self._template if self._sounds is None else self._sounds  # an image has no range to be cut to
            if cut.has_start or (cut.has_video and names_part):
                if frame_s is not None:
                    frame_s -= start_s or 0.0
                start_s = end_s = None
        return VideoRow(
            video,
            source,
            labels,
            split,
            start_s,
            end_s,
            segment_labels,
            boxes,
            group=group,
            frame_s=frame_s,
            sound=sound,
            keypoints=keypoints,
        )
