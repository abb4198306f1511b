"""The benchmarks' lists in JSON and CSV: VGG-SS, IS3, MUSIC-Solo and -Duet, and pairs of frames with other sounds.

    VGG-SS  [{"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[0.40, 0.25, 0.6, 0.75]]}, …]
    IS3     [{"image": "…/accordion_female_10438_accordion.jpg", "audio": …, "gt_box": [47, 99, 154, 185]}, …]
    MUSIC   [{"file": "HnUOaSfTA6c_000_00000", "class_src1": "cello", "bbox_src1": [x, y, width, height], …}, …]
    pairs   video,audio,label

Ids of maps are the file's name; of MUSIC's duets and solos, with a map for each source, `FILE:LABEL`; of a pair
`VIDEO,AUDIO`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cluster.masking import shown
from pipeline.errors import BenchmarkError, ManifestError
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.ground_truth import PixelBox, in_pixels
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.formats import avgn, is3, vggss
from pipeline.prepare.manifests.formats.pairs import HEADER
from pipeline.prepare.manifests.json_list import entries
from pipeline.prepare.manifests.labels import Labels
from pipeline.prepare.manifests.list_file import ListFile
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.row_errors import WrongRow

NON_SOUNDING = "non-sounding"


def read_vggss(url: str) -> list[BenchmarkSample]:
    """VGG-SS: boxes of the middle frame of each part; a truth without area stays, as a failure.

    Raises:
        ManifestError: a wrong entry, or no such list; so for all lists here.
    """
    return [
        BenchmarkSample(row.video, tuple(in_pixels(box, TRUTH_SIZE) for box in row.boxes or ()), row.labels)
        for _, _, row in vggss.read(open_list(url))
    ]


def read_is3(url: str) -> list[BenchmarkSample]:
    """IS3: several sounding instances an image, each an entry of its own."""
    file, samples = open_list(url), []
    for number, entry in entries(file):
        try:
            one = is3.instance_of(entry)
        except WrongRow as error:
            file.wrong(number, error)
            continue
        x1, y1, x2, y2 = map(int, one.box)
        samples.append(BenchmarkSample(one.name, ((x1, y1, x2, y2),), (one.label,), group=one.image))
    return samples


def read_music(url: str) -> list[BenchmarkSample]:
    """MUSIC-Solo or MUSIC-Duet with AVGN's boxes, which are x, y, width and height; a sample a source."""
    return [
        BenchmarkSample(
            f"{row.video}:{label}",
            (in_pixels(box, TRUTH_SIZE),),
            (label,),
            group=row.video if len(row.labels) > 1 else None,
            seen=(row.video,),
        )
        for _, _, row in avgn.read(open_list(url))
        for label, box in zip(row.labels, row.boxes or (), strict=True)
    ]


def read_as_corners(url: str) -> dict[str, PixelBox]:
    """MUSIC's boxes as AVGN's evaluator reads them, by id of the source: cut to 0–1 and taken for corners."""
    found = {}
    for _, entry in entries(open_list(url)):
        for end in ("", "_src1", "_src2"):
            if f"bbox{end}" in entry:
                cut = [min(max(value, 0.0), 1.0) for value in entry[f"bbox{end}"]]
                found[f"{entry['file']}:{entry[f'class{end}']}"] = in_pixels(
                    (cut[0], cut[1], cut[2], cut[3]), TRUTH_SIZE
                )
    return found


def with_pairs(samples: Sequence[BenchmarkSample], url: str) -> list[BenchmarkSample]:
    """Samples of a benchmark with those of a list of pairs behind them: a frame with the sound of another video, or of
    its own where nothing that sounds is seen. Rows of another label than `non-sounding` are of frames whose boxes the
    benchmark has."""
    known, file, pairs = {sample.id: sample for sample in samples}, open_list(url), []
    for number, (video, audio, label) in _rows(file, HEADER):
        sounding = label != NON_SOUNDING
        if sounding and video not in known:
            file.wrong(number, f"expected a video of the benchmark's list or {NON_SOUNDING}, found {shown(video)}")
            continue
        frame = known[video] if sounding else BenchmarkSample(video, (), sounding=False)
        pairs.append(replace(frame, id=f"{video},{audio}", labels=(label,), seen=(video,), heard=(audio,)))
    return [*samples, *pairs]


def read_ids(url: str) -> list[str]:
    """The first cell of each row of a CSV, such as `vggss_heard_test.csv` or `flickr_test.csv`."""
    return [cells[0].strip() for _, cells in csv_rows(open_list(url))]


def check_unique(samples: Sequence[BenchmarkSample], url: str) -> None:
    """Raise BenchmarkError for two samples with the same id, of which none could say whose a map is, and for none."""
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise BenchmarkError(f"{url}: expected each id once, found {shown(sample.id)} twice")
        seen.add(sample.id)
    if not seen:
        raise BenchmarkError(f"{url}: expected samples of a benchmark, found none")


def _rows(file: ListFile, names: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row below a header."""
    rows = csv_rows(file)
    header = next(rows, (1, []))
    if tuple(cell.strip() for cell in header[1]) != names:
        raise ManifestError(
            f"{file.place(1)}: expected the header {','.join(names)}, found {shown(','.join(header[1]))}"
        )
    for line, cells in rows:
        if len(cells) != len(names):
            file.wrong(line, f"expected {','.join(names)}, found {len(cells)} cells")
            continue
        yield line, [cell.strip() for cell in cells]


def open_list(url: str) -> ListFile:
    """A list of which no row may be wrong.

    Raises:
        ManifestError: when a wrong row is come upon.
    """
    return ListFile(url, ListOptions(need_places=False), (None, None, None), Labels(), _refuse)


def _refuse(sentence: str) -> None:
    raise ManifestError(sentence)
