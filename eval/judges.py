"""Judges of replies: which emotion, sentiment or topic a text shows.

A judge never saw the word lists and heads that steer, nor the data those heads were trained on. It
reads a text's sentence vector (`chatbot.embedding`), which tells topics well and feelings badly;
the judges of feelings therefore read its words too. Those of Korean read parts of words and no
vector, so that they stay when its encoder changes. How they are trained: `eval.judge_training`.

Shapes: `n` texts, `D` dimensions of a vector, `F` hashed words and pairs of words, `K` labels.
"""

import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import ModelError
from chatbot.ngrams import is_korean, text_parts

Array = NDArray[np.float32]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]|[\U0001f300-\U0001faff]")

PRETRAINED = Path(__file__).with_name("pretrained")

NOTHING = {"emotion": "neutral", "sentiment": "neutral", "topic": "other"}
"""The label of each family that a text without the attribute gets."""

LABELS = {
    "emotion": {"neutral", "joy", "surprise", "anger", "sadness", "fear", "disgust"},
    "sentiment": {"neutral", "positive", "negative"},
}
"""Of the families whose labels are given; the others take those of their texts."""


class Encoder(Protocol):
    """What turns texts into vectors: `chatbot.embedding.Embedder`, or a stand-in."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Name and digest."""

    def encode(self, texts: Sequence[str]) -> Array:
        """(n, D) unit vectors."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A linear classifier, softmax over the labels of one family.

    Attributes:
        family: emotion, sentiment or topic.
        labels: K names.
        weight: (K, D) float32; D is 0 where it reads no vector.
        bias: (K,) float32.
        words: (F, K) float16; F is 0 where it reads the vector alone.
        thresholds: (K,) probability that 5 % of the valid texts of the label `NOTHING[family]`
            exceed; a second meaning of "shows it" beside being the likeliest label.
        encoder: name and digest of the encoder whose vectors it was trained on; empty where it
            reads none.
        card: how it was trained and how good it is.
    """

    family: str
    labels: tuple[str, ...]
    weight: Array
    bias: Array
    words: NDArray[np.float16]
    thresholds: Array
    encoder: Mapping[str, str]
    card: Mapping[str, Any]

    def probabilities(self, texts: Sequence[str], vectors: Array) -> Array:
        """(n, K) float32 of texts with their vectors (n, D); each row sums to 1."""
        logits = vectors[:, : self.weight.shape[1]] @ self.weight.T + self.bias
        if len(self.words):
            logits = logits + np.stack([self._of_words(text) for text in texts])
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True), np.float32)

    def _of_words(self, text: str) -> Array:
        """(K,) what the words add to the logits."""
        found = hashed_words(text, len(self.words))
        return np.asarray(self.words[found].astype(np.float32).sum(0) / word_scale(found))

    def save(self, folder: Path) -> None:
        """Writes `FAMILY.safetensors` and `FAMILY.json`."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "weight": self.weight, "bias": self.bias, "words": self.words,
            "thresholds": self.thresholds,
        }  # fmt: skip
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            folder / f"{self.family}.safetensors",
        )
        told = {
            "family": self.family,
            "labels": self.labels,
            "encoder": dict(self.encoder),
            "card": self.card,
        }
        text = json.dumps(told, ensure_ascii=False, indent=1)
        (folder / f"{self.family}.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, family: str) -> "Judge":
        """The judge that `save` wrote.

        Raises:
            ModelError: a file is missing or does not fit the other.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            told = json.loads((folder / f"{family}.json").read_text(encoding="utf-8"))
            arrays = load_file(folder / f"{family}.safetensors")
            judge = cls(
                family=told["family"],
                labels=tuple(told["labels"]),
                weight=arrays["weight"],
                bias=arrays["bias"],
                words=arrays["words"],
                thresholds=arrays["thresholds"],
                encoder=told["encoder"],
                card=told["card"],
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ModelError(
                f"cannot read the judge of {family} in {folder} ({error!r:.200}); "
                "train it with `chatbot eval judge train`"
            ) from error
        n_labels = len(judge.labels)
        if not n_labels == len(judge.weight) == len(judge.bias) == len(judge.thresholds):
            raise ModelError(
                f"the judge of {family} in {folder} has {n_labels} labels and weights of another "
                "number; train it with `chatbot eval judge train`"
            )
        return judge


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judges say about `n` texts.

    Attributes:
        probabilities: family -> (n, K).
    """

    judges: Mapping[str, Judge]
    probabilities: Mapping[str, Array]

    def of(self, attribute: str) -> Array:
        """(n,) probability of an attribute."""
        judge, column = self._find(attribute)
        return np.asarray(self.probabilities[judge.family][:, column])

    def is_likeliest(self, attribute: str, beside: Collection[str] = ()) -> NDArray[np.bool_]:
        """(n,) whether the attribute is likelier than all other labels of its family.

        Args:
            beside: labels that were asked for as well. They do not count against it: one text can
                show both joy and surprise, while a family shares one probability among its labels.
        """
        judge, column = self._find(attribute)
        rivals = [
            at for at, label in enumerate(judge.labels) if at == column or label not in beside
        ]
        likeliest = self.probabilities[judge.family][:, rivals].argmax(1)
        return np.asarray(likeliest == rivals.index(column))

    def passes(self, attribute: str) -> NDArray[np.bool_]:
        """(n,) whether its probability is above the threshold."""
        judge, column = self._find(attribute)
        return np.asarray(self.of(attribute) > judge.thresholds[column])

    def _find(self, attribute: str) -> tuple[Judge, int]:
        judge = self.judges[family_of(attribute, self.judges)]
        return judge, judge.labels.index(attribute)


class Jury:
    """The judges of all families with the encoder they share.

    Attributes:
        judges: family -> judge.
    """

    def __init__(self, encoder: Encoder, judges: Mapping[str, Judge]):
        """Refuses judges of another encoder.

        Raises:
            ModelError: a judge was trained on other vectors.
        """
        for judge in judges.values():
            if judge.encoder and dict(judge.encoder) != dict(encoder.identity):
                raise ModelError(
                    f"the judge of {judge.family} was trained on vectors of "
                    f"{_told(judge.encoder)}, this encoder is {_told(encoder.identity)}; train it "
                    "again with `chatbot eval judge train`"
                )
        self.judges = dict(judges)
        self._encoder = encoder

    @classmethod
    def load(cls, encoder: Encoder, folder: Path = PRETRAINED) -> "Jury":
        """The judges of a folder, the shipped ones if none is given; not every family has to be.

        Raises:
            ModelError: there is none, or one is broken or of another encoder.
        """
        there = [family for family in NOTHING if (folder / f"{family}.json").is_file()]
        return cls(encoder, {family: Judge.load(folder, family) for family in there or NOTHING})

    def attributes(self) -> list[str]:
        """That can be judged; the label of a text without any is none, except neutral."""
        labels = (label for judge in self.judges.values() for label in judge.labels)
        return sorted(set(labels) - {"other"})

    def vectors(self, texts: Sequence[str]) -> Array:
        """(n, D) unit vectors."""
        return self._encoder.encode(texts)

    def judge(self, texts: Sequence[str]) -> Verdict:
        """What the texts show."""
        vectors = self.vectors(texts)
        return Verdict(
            self.judges,
            {name: judge.probabilities(texts, vectors) for name, judge in self.judges.items()},
        )


def folder_of(language: str) -> Path:
    """Where the judges of texts of a language lie."""
    return PRETRAINED if language == "en" else PRETRAINED / language


def hashed_words(text: str, size: int) -> list[int]:
    """Sorted places, below `size`, of the words and pairs of words that a text has.

    Of Korean also parts of words, as a stem takes many endings.
    """
    if is_korean(text):
        return [int(part) for part in text_parts(text, size)]
    spoken = ["<", *_WORD.findall(text.lower().replace("’", "'")), ">"]
    pairs = (f"{one} {two}" for one, two in pairwise(spoken))
    return sorted({zlib.crc32(gram.encode()) % size for gram in (*spoken[1:-1], *pairs)})


def word_scale(found: Sequence[int]) -> float:
    """What the sum over a text's words is divided by, so that long texts do not shout."""
    return float(max(1, len(found)) ** 0.5)


def family_of(attribute: str, judges: Mapping[str, Judge]) -> str:
    """The family that judges an attribute; `neutral` is judged among the emotions.

    Raises:
        KeyError: no judge knows it.
    """
    for family, judge in judges.items():
        if attribute in judge.labels:
            return family
    raise KeyError(attribute)


def _told(encoder: Mapping[str, str]) -> str:
    return f"{encoder['name']} ({encoder['digest'][:12] or 'no digest'})"
