"""The Sound of Pixels' lists: sound file, frames, number of frames.

    ./data/audio/acoustic_guitar/M3dekVSwNjY.mp3,./data/frames/acoustic_guitar/M3dekVSwNjY.mp4,1580

The frames lie in a folder that is named like a video; the video itself is what its name says on YouTube, and the folder
above it is its label.
"""

from collections.abc import Iterator

from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import youtube_id


def looks_like(head: Head) -> bool:
    """Two paths and a number."""
    row = head.cells
    return len(row) == 3 and "/" in row[0] and "/" in row[1] and row[2].isdigit()


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a list of the Sound of Pixels."""
    split = split_of(file.url)
    for line, cells in csv_rows(file):
        try:
            if len(cells) != 3:
                raise WrongRow(f"expected 3 cells (sound, frames, number of frames), found {len(cells)}")
            folder, _, name = cells[1].rpartition("/")
            youtube = youtube_id(name.rpartition(".")[0] or name)
            label = folder.rpartition("/")[2]
            row = file.row_of_id(youtube, youtube, file.labels.of([label] if label else []), split)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.OWN, row
