"""Flickr-SoundNet: a folder with an XML file an image, in which three annotators drew boxes.

    <annotation> <object> <bbox> <id>…</id> <xmin>57</xmin> <ymin>20</ymin> <xmax>200</xmax> <ymax>240</ymax> </bbox> …

Of each `bbox` two levels below the root the first element is left out, and the four behind it are corners x1, y1, x2,
y2 in pixels of 256, by their places as the public evaluators read them. A pixel counts in full where two of the
annotators agree: min(Σ / 2, 1).
"""

from xml.etree import ElementTree

from cluster import storage
from cluster.masking import shown
from pipeline.errors import BenchmarkError
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample
from pipeline.evaluate.metrics.ground_truth import PixelBox

_DRAWN_AT = 256
_VOTES = 2


def read_flickr(folder: str) -> list[BenchmarkSample]:
    """A sample for each XML file of a folder, by its name.

    Raises:
        BenchmarkError: a file is no such annotation, or there is none.
    """
    files = sorted(file.url for file in storage.list_files(folder) if file.url.lower().endswith(".xml"))
    if not files:
        raise BenchmarkError(f"{folder}: expected a folder with Flickr-SoundNet's annotations (*.xml), found none")
    return [
        BenchmarkSample(url.rpartition("/")[2][: -len(".xml")], _boxes(url, content), votes=_VOTES)
        for url, content in zip(files, storage.read_many(files), strict=True)
    ]


def _boxes(url: str, content: bytes) -> tuple[PixelBox, ...]:
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:  # ValueError: an encoding that nobody knows
        raise BenchmarkError(f"{url}: expected XML, found something else ({error})") from None
    return tuple(_corners(url, box) for drawn in root for box in drawn if box.tag == "bbox")


def _corners(url: str, box: ElementTree.Element) -> PixelBox:
    texts = [(element.text or "").strip() for element in box][1:]
    try:
        x1, y1, x2, y2 = (int(TRUTH_SIZE * int(text) / _DRAWN_AT) for text in texts[:4])
    except ValueError:
        raise BenchmarkError(
            f"{url}: bbox: expected an element and four whole numbers in pixels of {_DRAWN_AT}, found {shown(texts)}"
        ) from None
    if min(x1, y1, x2, y2) < 0:
        raise BenchmarkError(f"{url}: bbox: expected corners of 0 or more, found {shown(texts)}")
    return x1, y1, x2, y2
