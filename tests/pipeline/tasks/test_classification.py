"""Labels of samples and of their segments as an objective."""

import math

import pytest
import torch
import torch.nn.functional as F

from pipeline.errors import RunError, SettingsError
from pipeline.models.contract import TokenGrid
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.classification import Classification, LabelWatch, labels_of
from pipeline.tasks.classification_settings import ClassificationSettings
from pipeline.tasks.over_time import by_time, in_segments
from stub_system import StubModel

CLASSES = ["bell", "drum", "horn"]


class Streams(StubModel):
    """Visual tokens by time, row and column, and audio tokens by frequency and time, as they are given."""

    @property
    def grids(self):
        over_frames = (("time", 4), ("row", 1), ("column", 2))
        return {"visual": TokenGrid(over_frames), "audio": TokenGrid((("frequency", 2), ("time", 8)))}

    @property
    def widths(self):
        return {"visual": 3, "audio": 2}


def settings_of(**words):
    return ClassificationSettings.model_validate({"classes": CLASSES, "streams": ["visual", "audio"]} | words)


def sample(*labels, segments=None):
    return SampleMetadata(
        video="v", source="v.mp4", frame_times_s=[0], audio_start_s=0, audio_rate_hz=1, audio_samples=1,
        labels=list(labels), segment_labels=segments,
    )  # fmt: skip


def tokens_of(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "frames": torch.randn(samples, 8, 3, generator=generator),
        "sound": torch.randn(samples, 16, 2, generator=generator),
    }


def totals_of(task, sums):
    return dict(zip(task.settings.sums, sums.tolist(), strict=True))


def test_one_of_several_labels_is_told_from_the_means_of_its_streams():
    task, model = Classification(settings_of(label_smoothing=0.1, class_weights={"horn": 3}), Streams()), Streams()
    inputs = tokens_of(3)
    targets = task.targets(0, range(3), [sample("drum"), sample("horn"), sample("bell")], "train")
    loss, sums = task(model, inputs, targets)
    logits = task.head(torch.cat([inputs["frames"].mean(1), inputs["sound"].mean(1)], 1))
    weights = torch.tensor([1.0, 1.0, 3.0])
    truth = torch.tensor([1, 2, 0])
    torch.testing.assert_close(
        loss, F.cross_entropy(logits, truth, weights, reduction="none", label_smoothing=0.1).mean()
    )
    assert totals_of(task, sums)["right"] == (logits.argmax(1) == truth).sum()


def test_several_labels_are_told_one_by_one():
    task = Classification(settings_of(labels="several"), Streams())
    inputs = tokens_of(2)
    targets = task.targets(0, range(2), [sample("drum", "horn"), sample("bell")], "train")
    loss, sums = task(Streams(), inputs, targets)
    logits = task.head(torch.cat([inputs["frames"].mean(1), inputs["sound"].mean(1)], 1))
    there = torch.tensor([[0.0, 1, 1], [1, 0, 0]])
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, there))
    totals = totals_of(task, sums)
    assert [totals[f"there/{number}"] for number in range(3)] == [1, 1, 1]
    said = (logits > 0).float()
    assert sum(totals[f"said/{number}"] for number in range(3)) == (said * there).sum()
    assert totals["refused"] == ((1 - said) * (1 - there)).sum()


def test_a_segment_is_told_by_what_is_seen_and_heard_in_it():
    """Of four segments the visual tokens are one frame, the audio tokens two times each."""
    task = Classification(settings_of(segments=4), Streams())
    inputs = tokens_of(1)
    logits = task.logits(Streams().fuse(Streams().embed(inputs)))
    assert logits.shape == (1, 4, 4)
    for segment in range(4):
        seen = inputs["frames"][:, 2 * segment : 2 * segment + 2].mean(1)
        heard = inputs["sound"].view(1, 2, 8, 2)[:, :, 2 * segment : 2 * segment + 2].mean((1, 2))
        torch.testing.assert_close(logits[:, segment], task.head(torch.cat([seen, heard], 1)))


def test_a_segment_without_a_label_is_background():
    listed = sample(segments=[["drum"], [], ["bell"], []])
    assert labels_of(listed, settings_of(segments=4)) == [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
    several = settings_of(segments=4, labels="several")
    assert labels_of(listed, several) == [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert labels_of(sample("drum"), several) is None


def test_times_are_shared_out_by_how_much_of_them_lies_in_a_segment():
    moments = torch.tensor([[[1.0], [2.0], [6.0]]])
    torch.testing.assert_close(in_segments(moments, 2), torch.tensor([[[4 / 3], [14 / 3]]]))
    torch.testing.assert_close(in_segments(moments, 6)[0, :, 0], torch.tensor([1.0, 1, 2, 2, 6, 6]))
    torch.testing.assert_close(in_segments(moments, 3), moments)


def test_a_stream_without_times_is_the_same_at_all_of_them():
    token = torch.randn(2, 1, 5)
    laid = by_time(token, TokenGrid((("token", 1),)))
    assert laid.shape == (2, 1, 1, 5)
    assert torch.equal(in_segments(laid.mean(2), 3), token.expand(2, 3, 5))


def test_samples_without_a_label_are_left_out_and_counted_however_a_step_is_cut():
    settings = settings_of()
    samples = [sample("drum") if place % 3 else sample() for place in range(12)]
    gradients = []
    for size in (12, 6, 3):
        torch.manual_seed(1)
        task, model, inputs = Classification(settings, Streams()), Streams(), tokens_of(12)
        summed = torch.zeros(len(settings.sums), dtype=torch.float64)
        for start in range(0, 12, size):
            part = {name: one[start : start + size] for name, one in inputs.items()}
            targets = task.targets(0, range(start, start + size), samples[start : start + size], "train")
            loss, sums = task(model, part, targets)
            (loss * size / 12).backward()
            summed += sums
        gradients.append(task.head.weight.grad)
        figures = settings.figures(totals_of(task, summed))
        assert figures["unlabelled_samples"] == 4
        assert figures["commonest"] == 1
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])


def test_balanced_accuracy_says_chance_of_who_says_the_same_always():
    one, several = settings_of(), settings_of(labels="several")
    zeros = dict.fromkeys(one.sums, 0.0) | {"loss": 1.0, "samples": 10.0, "answers": 10.0}
    always = zeros | {"right": 8.0, "there/0": 8.0, "said/0": 8.0, "there/1": 1.0, "there/2": 1.0}
    figures = one.figures(always)
    assert (figures["accuracy"], figures["balanced_accuracy"], figures["commonest"]) == (0.8, 1 / 3, 0.8)
    all_said = zeros | {f"{name}/{number}": 4.0 for name in ("there", "said") for number in range(3)}
    assert several.figures(all_said | {"others": 18.0, "refused": 0.0})["balanced_accuracy"] == 0.5
    chances = {metric.name: metric.chance for metric in several.metrics}
    assert (chances["loss"], chances["balanced_accuracy"]) == (math.log(2), 0.5)
    assert {metric.name: metric.chance for metric in one.metrics}["accuracy"] == 1 / 3


@pytest.mark.parametrize(
    ("words", "found", "sentence"),
    [
        ({}, sample("gong"), "v.mp4: task.classes: expected one of the 3 classes as labels, found 'gong'"),
        ({}, sample("bell", "drum"), "v.mp4: task.labels: expected one label a sample, found bell, drum"),
        ({"segments": 2}, sample(segments=[[]]), "task.segments: expected labels of 2 segments, found those of 1"),
        (
            {"segments": 1 + 1},
            sample(segments=[["bell", "horn"], []]),
            "expected one label a segment, found bell, horn",
        ),
    ],
)
def test_labels_that_do_not_fit_are_said_in_a_sentence(words, found, sentence):
    task = Classification(settings_of(**words), Streams())
    with pytest.raises(SettingsError, match=sentence):
        task.targets(0, [0], [found], "train")


def test_samples_of_other_classes_may_be_left_out():
    task = Classification(settings_of(unknown="leave_out", labels="several"), Streams())
    targets = task.targets(0, range(3), [sample("gong", "bell"), sample("bell"), sample()], "train")
    assert targets["counted"].tolist() == [False, True, False]


def test_data_without_any_label_is_refused():
    task = Classification(settings_of(), Streams())
    with pytest.raises(SettingsError, match=r"data.validation: expected samples with labels .* none among its first 5"):
        task.check_validation(0, 5, True, lambda positions: [sample() for _ in positions])
    task.check_validation(0, 5, True, lambda positions: [sample("bell") for _ in positions])
    watch = LabelWatch()
    assert watch.add({"left_out": 16.0}, 16, False) is None
    with pytest.raises(RunError, match=r"data.train: expected samples with labels of task.classes"):
        watch.add({"left_out": 240.0}, 240, False)
    assert LabelWatch().add({"left_out": 200.0}, 256, False) == (
        "200 of the first 256 samples have no label and are left out"
    )


def test_every_figure_is_label_aided():
    aided = settings_of().label_aided
    assert aided is not None
    assert aided.startswith("label-aided: class names are what is learnt")
