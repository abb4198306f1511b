"""Events of segments as an objective, learnt from labels of segments and of whole videos."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import SettingsError
from pipeline.models.contract import TokenGrid
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.classification import Classification
from pipeline.tasks.classification_settings import ClassificationSettings
from pipeline.tasks.events import Events
from pipeline.tasks.events_settings import EventsSettings
from stub_system import StubModel

CLASSES = ["bell", "drum", "horn"]
SEGMENTS = 4


class Streams(StubModel):
    """Segments as they are given, and the sound of each."""

    @property
    def grids(self):
        return dict.fromkeys(("visual", "audio"), TokenGrid((("time", SEGMENTS),)))

    @property
    def widths(self):
        return {"visual": 3, "audio": 2}


def task_of(**words):
    """Its head tells segments by sight and sound."""
    known = {"classes": CLASSES, "segments": SEGMENTS, "streams": ["visual", "audio"]}
    torch.manual_seed(0)
    return Events(EventsSettings.model_validate(known | words), Streams())


def sample(*labels, segments=None, video="v"):
    return SampleMetadata(
        video=video, source=f"{video}.mp4", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1, audio_samples=1,
        labels=list(labels), segment_labels=segments,
    )  # fmt: skip


def tokens_of(samples):
    generator = torch.Generator().manual_seed(0)
    return {
        "frames": torch.randn(samples, SEGMENTS, 3, generator=generator) * 9,
        "sound": torch.randn(samples, SEGMENTS, 2, generator=generator) * 9,
    }


def likely(task, frames, sound):
    return task.head(torch.cat([frames, sound], -1)).softmax(-1)


def test_of_labelled_segments_it_learns_what_classification_does():
    events = task_of()
    words = {"classes": CLASSES, "segments": SEGMENTS, "streams": ["visual", "audio"]}
    classification = Classification(ClassificationSettings.model_validate(words), Streams())
    classification.load_state_dict(events.state_dict())
    samples = [sample(segments=[["bell"], [], ["horn"], []]), sample()]
    targets = events.targets(0, range(2), samples, "train")
    for ours, theirs in zip(
        events(Streams(), tokens_of(2), targets), classification(Streams(), tokens_of(2), targets), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_of_a_video_each_class_is_told_by_all_segments_together(pool):
    task, given = task_of(supervision="video", pool=pool), tokens_of(2)
    targets = task.targets(0, range(2), [sample("bell", "horn"), sample("drum")], "train")
    assert targets["truth"].tolist() == [[[1, 0, 1]], [[0, 1, 0]]]
    loss, sums = task(Streams(), given, targets)
    answers = likely(task, given["frames"], given["sound"])[..., :3]
    pooled = answers.mean(1) if pool == "mean" else answers.amax(1)
    expected = F.binary_cross_entropy(pooled, targets["truth"][:, 0].float())
    torch.testing.assert_close(loss, expected)
    figures = task.settings.figures(dict(zip(task.settings.sums, sums.tolist(), strict=True)))
    right = [row[number] for row, number in zip(targets["truth"][:, 0].tolist(), pooled.argmax(1), strict=True)]
    assert figures["accuracy"] == sum(right) / 2


def test_what_is_said_of_a_video_is_what_is_said_of_any_of_its_segments():
    task = task_of(supervision="video")
    with torch.no_grad():
        task.head.weight.zero_()
        task.head.weight[0, 0], task.head.weight[3, 1], task.head.weight[1, 2] = 1, 1, 1
        task.head.bias.zero_()
    frames = torch.zeros(1, SEGMENTS, 3)
    frames[0, 0, 0] = 9  # a bell, then background
    frames[0, 1:, 1] = 9
    targets = task.targets(0, range(1), [sample("bell")], "train")
    _, sums = task(Streams(), {"frames": frames, "sound": torch.zeros(1, SEGMENTS, 2)}, targets)
    totals = dict(zip(task.settings.sums, sums.tolist(), strict=True))
    assert [totals[f"said/{number}"] for number in range(3)] == [1, 0, 0]
    assert totals["refused"] == totals["others"] == 2
    assert task.settings.figures(totals)["balanced_accuracy"] == 1


def test_a_video_with_the_sound_of_another_shows_no_event():
    task, given = task_of(supervision="video", mismatched=0.5, group=4), tokens_of(3)
    samples = [sample("bell", video="a"), sample("bell", "drum", video="b"), sample("horn", video="c")]
    targets = task.targets(0, range(3), samples, "train")
    assert targets["other"].tolist()[:2] == [2, 2]  # the one with none of their labels
    assert targets["unlike"].tolist() == [True, True, True]
    loss, _ = task(Streams(), given, targets)
    own, others = (
        likely(task, given["frames"], sound)[..., :3].mean(1)
        for sound in (given["sound"], given["sound"][targets["other"]])
    )
    expected = F.binary_cross_entropy(own, targets["truth"][:, 0].float())
    torch.testing.assert_close(loss, expected + 0.5 * F.binary_cross_entropy(others, torch.zeros(3, 3)))


def test_a_video_without_a_partner_counts_as_itself_alone():
    task, plain = task_of(supervision="video", mismatched=1.0, group=2), task_of(supervision="video")
    without = task.targets(0, range(2), [sample("bell", video="a"), sample(video="b")], "train")
    assert not without["unlike"][0]  # whose sound may be a bell's too
    samples = [sample("bell", video="a"), sample("bell", video="b")]
    targets = task.targets(0, range(2), samples, "train")
    assert targets["unlike"].tolist() == [False, False]
    for ours, theirs in zip(
        task(Streams(), tokens_of(2), targets), plain(Streams(), tokens_of(2), targets), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_what_is_seen_and_what_is_heard_are_told_apart_from_their_own_streams():
    task, given = task_of(apart_weight=0.5), tokens_of(2)
    seen, heard = [["bell", "drum"], [], [], ["horn"]], [["noise"], ["horn", "noise"], [], []]
    said = {"segment_visible": seen, "segment_heard": heard}
    samples = [sample(segments=[["bell"], [], [], []]).model_copy(update=said), sample(segments=[[]] * 4)]
    targets = task.targets(0, range(2), samples, "train")
    assert targets["seen"][0].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert targets["heard"][0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]  # noise is of no class
    assert targets["seen_known"].tolist() == targets["heard_known"].tolist() == [True, False]
    loss, _ = task(Streams(), given, targets)
    plain = task_of()
    plain.head.load_state_dict(task.head.state_dict())
    alone, _ = plain(Streams(), given, plain.targets(0, range(2), samples, "train"))
    expected = sum(
        F.binary_cross_entropy_with_logits(task.apart[name](given[field][0]), targets[name][0].float())
        for name, field in (("seen", "frames"), ("heard", "sound"))
    )
    torch.testing.assert_close(loss, alone + 0.5 * expected / 2)


def test_samples_of_other_segments_are_refused_by_name():
    short = sample(segments=[[]] * 4).model_copy(update={"segment_heard": [["bell"]]})
    with pytest.raises(SettingsError, match=r"v\.mp4: task.segments: expected what is heard in 4 segments, found .* 1"):
        task_of(apart_weight=1.0).targets(0, range(1), [short], "train")
