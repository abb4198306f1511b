"""What others published: rows that stand beside a table's own, as they were printed, by their own evaluators."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.evaluate.measures.contract import Row, Table
from pipeline.evaluate.settings import PublishedOn

_LACKING = 0.05
"""Share of a benchmark's samples."""


@dataclass(frozen=True)
class Published:
    """Figures of a table on a data set.

    Attributes:
        measure: whose table has their columns; empty for a benchmark of localisation, which has one of its own.
        columns: as the table names them.
        figures: of each method with its source, in per cent where the column is a share.
        percent: whether they are.
        samples: that a benchmark has; what judges others is another one.
    """

    measure: str
    columns: tuple[str, ...]
    figures: dict[str, tuple[float | None, ...]]
    percent: bool = True
    samples: int | None = None

    def is_of(self, samples: int) -> bool:
        """Whether a benchmark of so many samples is the one that they are of: copies of a list lack a few."""
        return self.samples is not None and abs(samples - self.samples) <= _LACKING * self.samples

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row a method."""
        unit = 100 if self.percent else 1
        return tuple(
            Row(f"{name}, as published", "other", dict(zip(self.columns, _in_unit(values, unit), strict=True)))
            for name, values in self.figures.items()
        )


def _in_unit(values: Sequence[float | None], unit: float) -> list[float | None]:
    return [None if value is None else value / unit for value in values]


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "vggss": (
        Published(
            "",
            ("ciou", "auc"),
            {
                "LVS (CVPR 2021)": (34.4, 38.2),
                "EZ-VSL (ECCV 2022)": (38.85, 39.54),
                "MarginNCE (ICASSP 2023)": (38.25, 39.06),
                "FNAC (CVPR 2023)": (39.50, 39.66),
                "SSL-Align (ICCV 2023)": (39.94, None),
                "ACL-SSL (WACV 2024)": (49.46, 46.32),
                "SouPLe": (53.21, 48.15),
            },
            samples=5_158,
        ),
    ),
    "flickr": (
        Published(
            "",
            ("ciou", "auc"),
            {
                "EZ-VSL (ECCV 2022)": (83.94, 63.60),
                "SSL-Align (ICCV 2023)": (85.20, None),
                "SouPLe": (84.80, 67.64),
            },
            samples=250,  # of flickr_test.csv
        ),
    ),
    "music-duet": (
        Published(
            "",
            ("ap", "ciou", "auc"),
            {
                "Mix-and-Localize (CVPR 2022)": (47.5, 26.5, 21.5),
                "AVGN (CVPR 2023)": (50.6, 32.5, 24.6),
                "T-VSL (CVPR 2024)": (62.9, 43.2, 35.9),
            },
            samples=2_040,
        ),
    ),
    "ave": (
        Published(
            "events",
            ("accuracy",),
            {
                "AVEL (ECCV 2018), supervised": (72.7,),
                "AVEL (ECCV 2018), weakly supervised": (66.7,),
                "See the Sound, Hear the Pixels (WACV 2020), supervised": (74.8,),
                "See the Sound, Hear the Pixels (WACV 2020), weakly supervised": (68.9,),
                "AV-Transformer (ACCV 2020), supervised": (76.8,),
                "AV-Transformer (ACCV 2020), weakly supervised": (70.2,),
            },
        ),
    ),
    "music-separation": (
        Published(
            "separation",
            ("sdr", "sir", "sar"),
            {
                "Sound of Pixels (ECCV 2018)": (7.26, 12.25, 11.11),
                "Co-Separation (ICCV 2019)": (7.64, 13.8, 11.3),
                "TriBERT (NeurIPS 2021)": (12.34, 18.76, 14.37),
            },
            percent=False,
        ),
    ),
    "music21-retrieval": tuple(
        Published(
            f"retrieval_head_{variant}",
            ("first", "fifth", "tenth"),
            {
                "TriBERT (NeurIPS 2021), 210 other videos, encoded together": together,
                "TriBERT (NeurIPS 2021), 210 other videos, as embedded": embedded,
            },
        )
        for variant, together, embedded in (
            ("audio_to_visual", (68.10, 93.81, 98.57), (1.43, 10.48, 17.62)),
            ("visual_to_audio", (59.52, 89.52, 92.38), (4.76, 18.57, 31.90)),
            ("audio_to_pose", (63.81, 86.67, 94.29), (2.38, 6.67, 10.95)),
            ("pose_to_audio", (54.29, 85.24, 86.67), (1.90, 9.05, 14.29)),
            ("visual+audio_to_pose", (54.29, 90.00, 96.19), (3.33, 9.05, 15.24)),
        )
    ),
    "audioset-synchronisation": (
        Published(
            "synchronisation",
            ("first",),
            {"Multisensory (ECCV 2018)": (59.9,), "Look, Listen, and Attend (ACM MM 2020)": (65.3,)},
        ),
    ),
    "ucf101": (
        Published(
            "actions",
            ("accuracy",),
            {
                "Multisensory (ECCV 2018)": (82.1,),
                "Look, Listen, and Attend (ACM MM 2020)": (87.8,),
                "AVTS (NeurIPS 2018)": (89.0,),
                "XDC, IG65M (NeurIPS 2020)": (94.2,),
                "GDT (ICCV 2021)": (95.5,),
            },
        ),
    ),
    "hmdb51": (
        Published(
            "actions",
            ("accuracy",),
            {
                "Multisensory (ECCV 2018)": (54.0,),
                "Look, Listen, and Attend (ACM MM 2020)": (58.2,),
                "AVTS (NeurIPS 2018)": (61.6,),
                "XDC, IG65M (NeurIPS 2020)": (67.4,),
                "GDT (ICCV 2021)": (72.8,),
            },
        ),
    ),
}


def with_published(tables: Sequence[Table], names: Sequence[PublishedOn]) -> list[Table]:
    """The tables, those of the measures that others' figures are of with these behind their own rows."""
    found = list(tables)
    for published in (one for name in names for one in PUBLISHED[name]):
        for place, table in enumerate(found):
            if _belongs(published, table):
                found[place] = replace(table, rows=(*table.rows, *published.rows))
    return found


def published_without_table(tables: Sequence[Table], names: Sequence[PublishedOn]) -> list[str]:
    """A sentence for each data set that was named and whose figures stand beside none of all tables."""
    return [
        f"published figures of {name} are left out: they belong to a table of {' or '.join(measures)} with their "
        "columns, and none was made"
        for name in names
        if not any(_belongs(published, table) for published in PUBLISHED[name] for table in tables)
        for measures in [sorted({published.measure for published in PUBLISHED[name]})]
    ]


def _belongs(published: Published, table: Table) -> bool:
    """Whether a table is of that measure and has the columns of what was published."""
    known = {column.name for column in table.columns}
    return table.measure == published.measure and bool(table.rows) and known >= set(published.columns)
