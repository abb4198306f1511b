"""The ceiling of multi-modal alignment, that nobody can beat."""

from dataclasses import astuple

from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.ceiling import CeilingCounts, Pair
from pipeline.tasks.mma import draw_pairs
from pipeline.tasks.mma_settings import MmaSettings


def sample(labels: list[str], visible: list[str] | None) -> SampleMetadata:
    return SampleMetadata(
        video="v",
        source="v.mp4",
        frame_times_s=[0.0],
        audio_start_s=0.0,
        audio_rate_hz=8000,
        audio_samples=1,
        labels=labels,
        visible=visible,
    )


def test_the_ceiling_is_what_an_observer_of_all_instruments_reaches() -> None:
    violin, both, drum = (
        sample(["violin"], ["violin"]),
        sample(["violin"], ["violin", "drum"]),
        sample(["drum"], ["drum"]),
    )
    pairs = [
        Pair(violin, violin, True),
        Pair(drum, violin, False),
        Pair(drum, drum, True),
        Pair(both, drum, False),  # shows the drum too: can't be told from a matched pair
    ]
    assert CeilingCounts.of(pairs).ceiling() == 0.75
    assert CeilingCounts.of(pairs[:3]).ceiling() == 1.0


def test_matched_frames_that_hide_their_sound_lower_the_ceiling() -> None:
    hidden = sample(["violin"], ["drum"])
    shown = sample(["violin"], ["violin"])
    pairs = [
        Pair(hidden, hidden, True),
        Pair(hidden, shown, False),
        Pair(hidden, shown, False),
        Pair(shown, shown, True),
    ]
    assert CeilingCounts.of(pairs).ceiling() == 0.75


def test_the_ceiling_is_unknown_where_nobody_says_what_is_visible() -> None:
    known, unknown = sample(["violin"], ["violin"]), sample(["violin"], None)
    assert CeilingCounts.of([Pair(known, known, True), Pair(unknown, known, False)]).ceiling() is None
    assert CeilingCounts.of([Pair(known, sample([], ["violin"]), True)]).ceiling() is None
    assert CeilingCounts.of([]).ceiling() is None


def test_counts_of_parts_add_up_to_those_of_all():
    violin, drum = sample(["violin"], ["violin"]), sample(["drum"], ["drum"])
    pairs = [Pair(violin, violin, True), Pair(drum, violin, False), Pair(violin, violin, False)]
    parts = [CeilingCounts.of(pairs[:1]), CeilingCounts.of(pairs[1:])]
    added = CeilingCounts(*map(sum, zip(*map(astuple, parts), strict=True)))
    assert added == CeilingCounts.of(pairs)
    assert added.ceiling() == 2 / 3


def test_pairs_that_are_left_out_of_the_loss_are_left_out_here_too():
    samples = [sample(["violin"], ["violin"]) for _ in range(8)]  # all of one video
    assert counts_of(samples) == CeilingCounts()
    others = [one.model_copy(update={"video": f"v{number}", "source": ""}) for number, one in enumerate(samples)]
    assert counts_of(others) == CeilingCounts(shown_match=8, shown_mismatch=8)


def counts_of(samples):
    """Of the pairs that validation would show of samples in one group."""
    drawn = draw_pairs(MmaSettings(pairs="both"), 0, range(len(samples)), samples, "validation")
    return CeilingCounts(*drawn["known"][1:].tolist())


def test_training_looks_at_no_label_to_count_what_an_observer_sees():
    samples = [sample(["violin"], ["violin"]).model_copy(update={"video": f"v{number}"}) for number in range(8)]
    drawn = draw_pairs(MmaSettings(), 0, range(8), samples, "train")
    assert not drawn["known"][1:].any()
