"""All samples as vectors, for whoever learns from them elsewhere."""

import io
from collections.abc import Sequence

import numpy as np

from pipeline.evaluate.embeddings import Known, Vectors, vectors_together
from pipeline.evaluate.measures.contract import Measure, Table
from pipeline.evaluate.samples import Chunk, EvaluationSamples
from pipeline.train.load import Trained

EMBEDDINGS = "evaluation_embeddings.npz"


class KeptEmbeddings(Measure[tuple[Known, dict[str, Vectors]]]):
    """Judges nothing, and writes `evaluation_embeddings.npz`:

    keys, videos     str [N]
    labels           str [N], of each separated by newlines
    STAGE/STREAM     float32 [N, D], see `pipeline.models.pooling`
    """

    @classmethod
    def reason_against(cls, trained: Trained, samples: EvaluationSamples) -> str | None:
        """Any model has embeddings."""
        return None

    def judge(self, chunk: Chunk) -> tuple[Known, dict[str, Vectors]]:
        """A chunk as vectors."""
        return Known.of(chunk.shown.keys, chunk.shown.metadata), self.judged.embedder(chunk)

    def tables(self, found: Sequence[tuple[Known, dict[str, Vectors]]]) -> list[Table]:
        """One without rows, which says what was written."""
        vectors = ", ".join(f"{name} [{one.shape[1]}]" for name, one in found[0][1].items())
        samples = sum(len(known) for known, _ in found)
        return [
            Table("embeddings", "embeddings", (), (), samples, notes=(f"{EMBEDDINGS} has {vectors} of all samples",))
        ]

    def files(self, found: Sequence[tuple[Known, dict[str, Vectors]]]) -> dict[str, bytes]:
        """The vectors."""
        known, buffer = Known.together([one for one, _ in found]), io.BytesIO()
        lists = {"keys": known.keys, "videos": known.videos, "labels": ["\n".join(some) for some in known.labels]}
        names = {name: np.array(one, np.str_) for name, one in lists.items()}
        np.savez(buffer, allow_pickle=False, **names, **vectors_together([vectors for _, vectors in found]))
        return {EMBEDDINGS: buffer.getvalue()}
