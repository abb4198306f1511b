"""Models gone through side by side: each sample is read once for all of them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

from cluster.process_group import ProcessGroup
from pipeline.errors import BenchmarkError, ManifestError, SettingsError
from pipeline.evaluate.measures.contract import Judged, Measure, OnProgress, SampleScores, Table
from pipeline.evaluate.published import published_without_table, with_published
from pipeline.evaluate.registry import MEASURES, MeasureSettings, all_measures
from pipeline.evaluate.samples import Chunk, EvaluationSamples, plan_evaluation
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.stream.read_plan import ReadPlan
from pipeline.stream.settings import DataSettings
from pipeline.train.load import Trained


class Judgement:
    """A model, what it is judged by and what was found.

    Attributes:
        measures_left_out: why others that were asked for can't be had.
        found: of each measure, what it found in the chunks.
    """

    judged: Judged
    measures: list[Measure[Any]]
    measures_left_out: list[str]
    found: list[list[Any]]

    def __init__(self, trained: Trained) -> None:
        self.trained = trained

    @property
    def left_out(self) -> list[str]:
        """Why measures that were asked for can't be had, and figures of others stand nowhere."""
        tables = [table for own in self._of_measures for table in own]
        return [*self.measures_left_out, *published_without_table(tables, self.judged.settings.published)]

    @cached_property
    def tables(self) -> list[Table]:
        """Of all measures, with the rows of others that are asked for."""
        named = zip(self._of_measures, self._names, strict=True)
        return [replace(table, measure=names[table.measure]) for tables, names in named for table in tables]

    @property
    def sample_scores(self) -> list[SampleScores]:
        """Of the tables whose figures hang on single samples, called as these."""
        of_measures = zip(self.measures, self.found, self._names, strict=True)
        return [
            replace(scores, measure=names[scores.measure])
            for measure, found, names in of_measures
            for scores in measure.sample_scores(found)
        ]

    @cached_property
    def _of_measures(self) -> list[list[Table]]:
        published, pairs = self.judged.settings.published, zip(self.measures, self.found, strict=True)
        return [with_published(measure.tables(found), published) for measure, found in pairs]

    @property
    def _names(self) -> list[dict[str, str]]:
        """Of each measure what its tables are called: of one that is asked for twice the second ones `NAME-2`."""
        seen, names = Counter[str](), list[dict[str, str]]()
        for tables in self._of_measures:
            own = list(dict.fromkeys(table.measure for table in tables))
            seen.update(own)
            names.append({name: name if seen[name] == 1 else f"{name}-{seen[name]}" for name in own})
        return names

    @property
    def choosing(self) -> list[Measure[Any]]:
        """Measures that choose something on the validation split, where there is one."""
        return [] if self.judged.choosing is None else [measure for measure in self.measures if measure.chooses]


def seeing_alike(judgements: Sequence[Judgement]) -> list[list[Judgement]]:
    """Those of models that take the same inputs together."""
    found: dict[str, list[Judgement]] = {}
    for one in judgements:
        run = one.trained.settings
        found.setdefault(f"{run.fields} {run.features.model_dump_json()}", []).append(one)
    return list(found.values())


def chunked_alike(judgements: Sequence[Judgement]) -> list[list[Judgement]]:
    """Those together whose measures cut the samples into the same chunks, in which samples meet others: figures hang
    on nothing but the own model."""
    found: dict[tuple[int, int], list[Judgement]] = {}
    for one in judgements:
        found.setdefault((_whole(one.choosing), _whole(one.measures)), []).append(one)
    return list(found.values())


def go_through(
    judgements: Sequence[Judgement],
    open_set: Callable[[str], EvaluationSamples],
    group: ProcessGroup,
    on_progress: OnProgress,
) -> None:
    """Go through the samples once for all models, and before through the validation split for those that choose and
    through the sets that some learn from, which `open_set` opens."""
    sets = judgements[0].judged
    choosing = [measure for one in judgements for measure in one.choosing]
    if sets.choosing is not None and choosing:
        seen = _sweep(sets.choosing, choosing, _choose, group, "choosing on the validation split", on_progress)
        for measure, found in zip(choosing, seen, strict=True):
            measure.chosen(found)
    measures = [measure for one in judgements for measure in one.measures]
    for lessons in {measure.learns_from: None for measure in measures if measure.learns_from is not None}:
        learning = [measure for measure in measures if measure.learns_from == lessons]
        doing, most = f"learning from {lessons.url}", lessons.samples
        seen = _sweep(open_set(lessons.url), learning, _learn, group, doing, on_progress, most)
        for measure, found in zip(learning, seen, strict=True):
            measure.learnt(found)
    seen = _sweep(sets.samples, measures, _judge, group, "judging", on_progress)
    of_measures = iter(seen)
    for one in judgements:
        one.found = list(islice(of_measures, len(one.measures)))


def plans_of(
    urls: Sequence[str], trained: Trained, settings: EvaluateSettings, reading: DataSettings, group: ProcessGroup
) -> list[ReadPlan]:
    """How each shard set is read. Of several the samples have digests, so that those that lie in both can be said."""

    def plan_of(url: str, on_progress: Callable[[], None]) -> ReadPlan:
        return plan_evaluation(url, trained.settings, settings, reading, len(urls) > 1, group.nodes, on_progress)

    return [group.on_main_at_length(partial(plan_of, url), lambda: None) for url in urls]


def measures_of(judged: Judged, group: ProcessGroup) -> tuple[list[Measure[Any]], list[str]]:
    """Those that can be had by every process, and why others that were asked for can't."""
    asked = judged.settings.measures
    measures: list[Measure[Any]] = []
    left_out = []
    for settings in all_measures() if asked is None else asked:
        measure, own_reason = group.each(partial(_measure, settings, judged))
        reason = next((one for one in group.gather_objects(own_reason) if one is not None), None)
        if measure is not None and reason is None:
            measures.append(measure)
        else:
            left_out.append(f"{settings.kind} is left out: {reason}")
    if asked is None and measures:
        left_out = []
    if not measures:
        raise SettingsError(f"evaluate.measures: expected one that can be had, but {'; '.join(left_out)}")
    return measures, left_out


def _measure(settings: MeasureSettings, judged: Judged) -> tuple[Measure[Any] | None, str | None]:
    """A measure, or why it can't be had: of this model and these samples, or as what it is told of is not there."""
    kind: type[Measure[Any]] = MEASURES.part_of(settings)
    reason = kind.reason_against(judged.trained, judged.samples)
    if reason is not None:
        return None, reason
    try:
        return kind(settings, judged), None
    except (BenchmarkError, ManifestError) as error:
        return None, str(error)


def _whole(measures: Sequence[Measure[Any]]) -> int:
    """So many consecutive samples lie in the same chunk."""
    return math.lcm(*(measure.group for measure in measures))


def _choose(measure: Measure[Any], chunk: Chunk) -> Any:
    return measure.choose(chunk)


def _learn(measure: Measure[Any], chunk: Chunk) -> Any:
    return measure.learn(chunk)


def _judge(measure: Measure[Any], chunk: Chunk) -> Any:
    return measure.judge(chunk)


def _sweep(
    samples: EvaluationSamples,
    measures: Sequence[Measure[Any]],
    look: Callable[[Measure[Any], Chunk], Any],
    group: ProcessGroup,
    doing: str,
    on_progress: OnProgress,
    most: int | None = None,
) -> list[list[Any]]:
    """Go through all samples once, or the first so many; gives what each measure found in the chunks, in their order,
    on every process.

    The processes take turns at the chunks, and exchange what they found after each turn.
    """
    chunks = samples.chunks(_whole(measures))
    chunks = [chunk for chunk in chunks if most is None or chunk.start < most]
    total = sum(map(len, chunks))
    mine = samples.go_through(chunks[group.rank :: group.world_size])

    def see() -> list[Any]:
        chunk = next(mine, None)
        if chunk is None:
            return []
        return [look(measure, chunk) for measure in measures]

    found: list[list[Any]] = [[] for _ in measures]
    on_progress(doing, 0, total)
    with closing(mine):
        for turn in range(0, len(chunks), group.world_size):
            seen = group.gather_objects(group.each(see))
            for of_chunk in seen:
                for of_measure, new in zip(found, of_chunk, strict=bool(of_chunk)):
                    of_measure.append(new)
            on_progress(doing, sum(map(len, chunks[turn : turn + group.world_size])), total)
    return found
