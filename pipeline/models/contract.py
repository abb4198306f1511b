"""What every model is to the rest: inputs by name in, streams of tokens out.

A model embeds each input for itself, gives the embedded tokens their places, and encodes all streams together. The cut
between the three is what tasks and readouts need: tokens that are embedded once may be re-paired or mixed before the
rest, and a readout may look at, change or leave out tokens just before they meet.

    inputs ──embed──► tokens of each stream ──place──► tokens with positions ──encode──► tokens, attention
                          └────────────────────── fuse ──────────────────────────┘
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.features.float32 import Float32Buffers
from pipeline.features.inputs import SOUND
from pipeline.models.attention import Attention, Layers
from pipeline.models.receptive_field import ReceptiveField

Inputs = dict[str, Tensor]
"""By name of the field, a batch of each: `frames` [B, T, 3, H, W] in 0–1, `sound` [B, C, S] in −1..1, and others'."""
Tokens = dict[str, Tensor]
"""By name of the stream, its tokens [B, N, D]; D may differ between streams."""
Images = dict[str, Tensor]
"""By name of the stream, what its embedder sees, as images [B, T, C, H, W]. Its tokens look at equal cells of them: the
last two axes of the grid lie over H and W, what is before them over T."""

HEARD = "heard"
"""The magnitudes [B, F, T] that models of spectrograms take in the place of the input `sound`."""
VISUAL, AUDIO, CLASS = "visual", "audio", "class"
"""Streams of what is seen and heard, and the one token that looks at all, in every model that has them."""
CLASS_MAPS = "class_maps"
"""What models with `AudioVisualModel.class_maps` embed beside the streams: of each cell of the frames how much of each
class it shows, [B, N, C]. It doesn't enter the encoder."""


@dataclass(frozen=True)
class TokenGrid:
    """How a stream's tokens lie, the last axis fastest, behind those that stand for all.

    Attributes:
        axes: name and length of each, e.g. `(("time", 1), ("row", 8), ("column", 8))` for frames and
            `(("frequency", 16), ("time", 16))` for a spectrogram.
        sees: by name of an axis that lies over one of an input, where the tokens' centres lie there and how far each
            sees. Of axes that are not named it is not known, and tokens are taken for even cells.
        summaries: tokens in front of the axes' that stand for all of them, such as BERT's ⟨SOS⟩.
    """

    axes: tuple[tuple[str, int], ...]
    sees: Mapping[str, ReceptiveField] = dataclasses.field(default_factory=dict, hash=False)
    summaries: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(length for _, length in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.axes)

    @property
    def count(self) -> int:
        """Tokens in all."""
        return self.summaries + prod(self.shape)

    def laid_out(self, tokens: Tensor) -> Tensor:
        """Values [B, N, …] of all tokens by the axes, [B, *shape, …], without those of tokens that stand for all."""
        return tokens[:, self.summaries :].reshape(len(tokens), *self.shape, *tokens.shape[2:])

    def centres(self, axis: str) -> tuple[float, ...]:
        """Of the tokens along an axis, in 0–1 of the input's."""
        tokens = dict(self.axes)[axis]
        even = ReceptiveField(tokens)
        return self.sees.get(axis, even).centres(tokens)


class Encoded(NamedTuple):
    """What `AudioVisualModel.encode` gives: tokens of each stream, and its attention where that was asked for."""

    tokens: Tokens
    attention: Attention | None


class AudioVisualModel(Float32Buffers):
    """A model of any number of streams.

    It is built on the meta device from its settings and those of the inputs; every module with parameters or buffers of
    its own has `reset_parameters`. Blocks that may be recomputed or compiled lie in `pipeline.models.blocks.Blocks`.

    A subclass is built as `Model(settings, features, shapes)`, where `shapes[name]` is that of one sample of an input.
    """

    @property
    @abstractmethod
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie."""

    @property
    @abstractmethod
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""

    @property
    def class_maps(self) -> TokenGrid | None:
        """How the cells of `CLASS_MAPS` lie over the frames, by time, row and column; the mean of a class over those of
        a frame is its score there. None in a model that embeds no such."""
        return None

    @property
    def moments_s(self) -> Mapping[str, Sequence[float]]:
        """Of each stream whose grid has times, when each is seen or heard: seconds from the middle of the sound. None
        of which nobody knows."""
        return {}

    @abstractmethod
    def embed(self, inputs: Inputs) -> Tokens:
        """Tokens of each input's own stream, before anything is known of the others: a sample's tokens of one stream
        may be put beside another sample's of another. Of inputs that are not given there are no streams, and each gives
        the same tokens with and without the others."""

    @abstractmethod
    def place(self, embedded: Tokens) -> Tokens:
        """The tokens as they enter the encoder: with positions, types and norms, and with the streams that come from no
        input, such as a class token. Some of the inputs' streams may be missing."""

    @abstractmethod
    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """Let the streams see each other. Of a stream there may be only some of its tokens, in any order, and of others
        none; what is given comes back.

        Args:
            attention: of which layers it is given: of all, of those counted from 0, or of none. What is given must not
                take more memory than the tokens do: `DotProducts` rather than weights.
        """

    def hear(self, sound: Tensor) -> Tensor:
        """The magnitudes [B, F, T] in which sounds [B, C, S] are heard, of models of spectrograms: of the input `heard`
        they make the same tokens as of the `sound`."""
        raise NotImplementedError

    def images(self, inputs: Inputs) -> Images:
        """What the embedders see of each input that is given; of models whose settings say that there is such
        (`ModelSettings.sees_images`): `embed` is `embed_images` of it."""
        raise NotImplementedError

    def embed_images(self, images: Images) -> Tokens:
        """Tokens of what embedders see, which may have been changed since `images`."""
        raise NotImplementedError

    @property
    def image_shapes(self) -> Mapping[str, tuple[int, int, int, int]]:
        """T, C, H and W of each stream's `images`."""
        raise NotImplementedError

    @property
    def attention_layers(self) -> int:
        """Layers in which tokens look at each other, as `attention` counts them; 0 in a model that gives none."""
        return 0

    def fuse(self, embedded: Tokens, attention: Layers = False) -> Encoded:
        """Place and encode."""
        return self.encode(self.place(embedded), attention)

    def parts(self) -> dict[str, nn.Module]:
        """What parameters and FLOPs are counted by: the children, unless a model knows better."""
        return dict(self.named_children())


def of_streams(embedded: Tokens) -> Tokens:
    """The streams of what a model embedded, without class maps."""
    return {name: tokens for name, tokens in embedded.items() if name != CLASS_MAPS}


def rows_of(tokens: Tokens, rows: Mapping[str, Tensor]) -> Tokens:
    """Re-paired tokens: of each stream named in `rows` the samples [P] at these places, of others all as they are."""
    return {name: stream[rows[name]] if name in rows else stream for name, stream in tokens.items()}


class EmbedOnce:
    """A model that embeds the same inputs once, however many tasks ask for it within a step; all else is the model's
    own.

    What tasks make of a micro-batch besides (`Task.further`: mixtures, silence, noise) goes through the embedders
    together with the micro-batch itself, in one pass each, so that batch norms see all of it as one batch.

    Attributes:
        further: by name, inputs that a task has made; `embed` gives the tokens of each.
    """

    def __init__(
        self,
        model: AudioVisualModel,
        inputs: Inputs | None = None,
        further: Mapping[str, Inputs] | None = None,
        hears: bool = False,
        unheard: bool = False,
    ) -> None:
        """
        Args:
            inputs: of the micro-batch; they must be given with what was made of them.
            hears: keep the magnitudes of sounds that are embedded, for `heard`.
            unheard: leave the sound of `inputs` out: nothing asks for its tokens.
        """
        self._model, self._hears, self._unheard = model, hears, unheard
        self.further = dict(further or {})
        self._together = [] if inputs is None else [inputs, *self.further.values()]
        self._embedded: list[tuple[Inputs, Tokens]] = []
        self._heard: list[tuple[Inputs, Tensor]] = []

    def of_task(self, name: str) -> "EmbedOnce":
        """The same for one of several tasks, whose own further inputs are called NAME/…"""
        own = EmbedOnce(self._model, hears=self._hears, unheard=self._unheard)
        own._together, own._embedded, own._heard = self._together, self._embedded, self._heard
        own.further = {
            key.removeprefix(f"{name}/"): made for key, made in self.further.items() if key.startswith(f"{name}/")
        }
        return own

    def embed(self, inputs: Inputs) -> Tokens:
        """As of the model."""
        for known, tokens in self._embedded:
            if known is inputs:
                return tokens
        together = self._together if any(one is inputs for one in self._together) else [inputs]
        self._embedded += zip(together, self._embed_together(together), strict=True)
        return self.embed(inputs)

    def heard(self, inputs: Inputs) -> Tensor:
        """`hear` of the sound of inputs, of which the tokens are made as well where magnitudes are kept."""
        self.embed(inputs)
        found = next((magnitudes for known, magnitudes in self._heard if known is inputs), None)
        return self._model.hear(inputs[SOUND]) if found is None else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _hear_together(self, several: list[Inputs]) -> list[Inputs]:
        """The same with magnitudes, which are kept, in the place of sounds."""
        found = [{name: values for name, values in inputs.items() if name != SOUND} for inputs in several]
        having = [place for place, inputs in enumerate(several) if SOUND in inputs]
        sounds = [several[place][SOUND] for place in having]
        magnitudes = torch.split(self._model.hear(torch.cat(sounds)), [len(sound) for sound in sounds])
        for place, own in zip(having, magnitudes, strict=True):
            self._heard.append((several[place], own))
            found[place][HEARD] = own
        return found

    def _embed_together(self, several: list[Inputs]) -> list[Tokens]:
        """Tokens of each; inputs of one name are rows of one batch."""
        if self._unheard and several[0] is self._together[0]:
            several = [{name: values for name, values in several[0].items() if name != SOUND}, *several[1:]]
        if self._hears and any(SOUND in inputs for inputs in several):
            several = self._hear_together(several)
        if len(several) == 1:
            return [self._model.embed(several[0])]
        found: list[Tokens] = [{} for _ in several]
        for field in dict.fromkeys(field for inputs in several for field in inputs):
            having = [place for place, inputs in enumerate(several) if field in inputs]
            rows = [len(several[place][field]) for place in having]
            tokens = self._model.embed({field: torch.cat([several[place][field] for place in having])})
            for stream, all_rows in tokens.items():
                for place, own in zip(having, torch.split(all_rows, rows), strict=True):
                    found[place][stream] = own
        return found
