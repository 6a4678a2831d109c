"""How risky a reply is and of which kind, out of its vectors and its own words.

Three learned parts: a linear one over hashed parts of words, one of the same kind for replies that
answer a turn, and a small network over sentence vectors, which knows the meaning. Knows neither the
encoder nor how it was trained (`chatbot.training.ethics`). What a fourth part finds, which reads
word by word (`chatbot.ethics_readers`), can be weighed in.

Shapes: `n` replies, `D` dimensions of a vector, `C` categories, `F` features of the network, `P`
the parts: network, words, words of answers, and the reader where it was asked.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chatbot.embedding import Vectors
from chatbot.errors import ModelError, reason_of
from chatbot.example_set import product
from chatbot.exemplars import CATEGORIES
from chatbot.ngrams import is_korean, text_parts

RETRAIN = "train it again with `chatbot ethics train --data FOLDER`"

_END = 300
"""Characters of a text that are read for its words, its last."""

_NEAREST = 3
"""Bank vectors whose mean likeness is a feature."""

_TENSORS = {"words", "banks", "in.weight", "in.bias", "out.weight", "out.bias"}

Language = Literal["en", "ko"]


@dataclass(frozen=True, slots=True)
class Scale:
    """From the numbers of the parts to calibrated log-odds: their weighted sum and a shift."""

    slopes: tuple[float, ...] = (1.0, 0.0, 0.0)
    shift: float = 0.0

    def log_odds(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) of (n, P)."""
        return np.asarray(numbers @ np.array(self.slopes, np.float32) + self.shift, np.float32)


def risk_of(log_odds: float) -> float:
    """0 to 1."""
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """What belongs to the tensors.

    Attributes:
        encoder: digest of the text encoder whose vectors the network learned from.
        buckets: of the hashed parts of words.
        bank_groups: group of each bank vector, category * 2 + (1 for the ethical side).
        scales: by language.
        threshold: risk from which a reply is rejected, by language.
        readers: scales of replies that a reader was asked about, by language, if it has a reader.
        doubtful: risk from which the reader is asked, by language: of English, where it costs the
            most, about few replies, of Korean about all.
        said: risk of what a person said from which a yes to it is rejected, by language; more than
            the threshold, since people say much that nobody minds.
        pull: log-odds that an example on either side adds where it is as near as can be.
        near: likeness from which an example pulls, by language; any two Korean texts are more
            alike than English ones.
    """

    encoder: str
    buckets: int
    bank_groups: tuple[int, ...]
    scales: Mapping[Language, Scale]
    threshold: Mapping[Language, float]
    readers: Mapping[Language, Scale] = field(default_factory=dict)
    doubtful: Mapping[Language, float] = field(default_factory=lambda: {"en": 0.2, "ko": 0.0})
    said: Mapping[Language, float] = field(default_factory=lambda: {"en": 0.75, "ko": 0.65})
    pull: float = 9.0
    near: Mapping[Language, float] = field(default_factory=lambda: {"en": 0.65, "ko": 0.9})

    def asks_reader(self, text: str, log_odds: float) -> bool:
        """Whether a reply with these log-odds by the probe is one to ask a reader about."""
        language = language_of(text)
        return (
            language in self.readers
            and risk_of(log_odds) >= self.doubtful[language]
            and is_readable(text)
        )

    def near_to(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) `near` of each text."""
        return np.array([self.near[language_of(text)] for text in texts], np.float32)


@dataclass(frozen=True, slots=True)
class Probe:
    """The learned parts.

    Attributes:
        words: (2, buckets) float16, weights of the parts of words, of any reply and of answers.
        words_bias: of both.
        banks: (m, D) float16, unit vectors of typical texts of a category and side.
        in_weight, in_bias, out_weight, out_bias: (F, h), (h,), (h, 1 + C), (1 + C,) float32.
    """

    config: ProbeConfig
    words: NDArray[np.float16]
    words_bias: tuple[float, float]
    banks: NDArray[np.float16]
    in_weight: NDArray[np.float32]
    in_bias: NDArray[np.float32]
    out_weight: NDArray[np.float32]
    out_bias: NDArray[np.float32]

    def __call__(
        self, pairs: Sequence[tuple[str, str]], replies: Vectors, users: Vectors
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The numbers of the parts, (n, 3), and log-odds of the categories, (n, C).

        Args:
            pairs: n replies, each with the turn that it answers, empty for none.
            replies, users: (n, D) of the replies and of the turns, zeros for none.
        """
        of_words = np.stack([self.word_scores(reply, user) for reply, user in pairs])
        is_korean = np.array([language_of(reply) == "ko" for reply, _ in pairs])
        features = network_features(
            replies, users, of_words, is_korean, self.banks, self.config.bank_groups
        )
        odds, categories = self.network(features)
        return np.column_stack([odds, of_words]), categories

    def network(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n,) and (n, C) of (n, F)."""
        hidden = np.maximum(product(features, self.in_weight) + self.in_bias, 0)
        out = product(hidden, self.out_weight) + self.out_bias
        return out[:, 0], out[:, 1:]

    def word_scores(self, reply: str, user: str) -> NDArray[np.float32]:
        """(2,) log-odds of risk by the words alone; the second is 0 where no turn is answered."""
        buckets, weights = word_features(reply, user, self.config.buckets)
        scores = self.words[:, buckets].astype(np.float32) @ weights + np.array(
            self.words_bias, np.float32
        )
        return np.asarray(scores * np.array([1, bool(user)]), np.float32)


def language_of(text: str) -> Language:
    """Which scale and threshold are for a text: Korean, or any other."""
    return "ko" if is_korean(text) else "en"


def is_readable(text: str) -> bool:
    """Whether a reader was made for it: any Korean reply, or a short English one."""
    return language_of(text) == "ko" or len(text) <= _END


def word_features(
    reply: str, user: str, buckets: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Buckets of the parts of both texts and their values; a long text counts no more than a short.

    The turn answered has buckets of its own, and half the weight.
    """
    own = text_parts(reply[-_END:], buckets)
    others = _turn_parts(user[-_END:], buckets) if user else own[:0]
    values = [
        np.full(len(found), weight / max(1, len(found)) ** 0.5, np.float32)
        for found, weight in ((own, 1.0), (others, 0.5))
    ]
    return np.concatenate([own, others]), np.concatenate(values)


@lru_cache(maxsize=64)
def _turn_parts(turn: str, buckets: int) -> NDArray[np.int64]:
    """Kept, for all replies to a turn need them."""
    return text_parts(turn, buckets, block=1)


def network_features(
    replies: Vectors,
    users: Vectors,
    of_words: NDArray[np.float32],
    is_korean: NDArray[np.bool_],
    banks: NDArray[np.float16],
    groups: Sequence[int],
) -> NDArray[np.float32]:
    """(n, F): the vectors of reply and turn, what they share, how near the reply is to the banks.

    Args:
        replies, users: (n, D) unit vectors; of users, zeros where there is no turn before.
        of_words: (n, 2) log-odds by words.
    """
    has_user = np.asarray(users.any(1))
    product = replies * users * replies.shape[1] ** 0.5
    shared = np.where(has_user[:, None], np.abs(replies - users), 0)
    flags = np.column_stack([of_words / 4, has_user, is_korean & has_user, is_korean])
    near = _bank_likeness(replies, banks, groups)
    scaled = [part * 8 for part in (replies, users, shared)]  # coordinates of about 0.05 to 0.4
    return np.concatenate([*scaled, product, near * 4, flags], 1).astype(np.float32)


def _bank_likeness(
    replies: Vectors, banks: NDArray[np.float16], groups: Sequence[int]
) -> NDArray[np.float32]:
    """(n, 2 C): mean cosine to the nearest of each group."""
    likeness = product(replies, banks.T)  # (n, m)
    group_of = np.asarray(groups)
    near = np.zeros((len(replies), 2 * len(CATEGORIES)), np.float32)
    for group in np.unique(group_of):
        of_group = np.sort(likeness[:, group_of == group], axis=1)
        near[:, group] = of_group[:, -_NEAREST:].mean(1)
    return near


def save_probe(probe: Probe, folder: Path) -> None:
    """Writes model.safetensors and config.json."""
    from safetensors.numpy import save_file

    tensors = {
        "words": probe.words,
        "banks": probe.banks,
        "in.weight": probe.in_weight.astype(np.float16),
        "in.bias": probe.in_bias,
        "out.weight": probe.out_weight,
        "out.bias": probe.out_bias,
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(arrays, folder / "model.safetensors")
    told = asdict(probe.config) | {"words_bias": probe.words_bias, "categories": CATEGORIES}
    (folder / "config.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def load_probe(folder: Path) -> Probe:
    """The probe of a folder that `save_probe` wrote.

    Raises:
        ModelError: a file is missing or not what it should be.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
        if told.pop("categories") != list(CATEGORIES) or tensors.keys() != _TENSORS:
            raise ValueError("it is of another version")
        words_bias = tuple(told.pop("words_bias"))
        told["bank_groups"] = tuple(told["bank_groups"])
        for key in ("scales", "readers"):
            told[key] = {name: _scale(scale) for name, scale in told[key].items()}
        config = ProbeConfig(**told)
        probe = Probe(
            config, tensors["words"], words_bias, tensors["banks"],
            tensors["in.weight"].astype(np.float32), tensors["in.bias"],
            tensors["out.weight"], tensors["out.bias"],
        )  # fmt: skip
        _check_shapes(probe)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        why = reason_of(error)
        raise ModelError(
            f"the ethics filter in {folder} cannot be read: {why}; {RETRAIN}"
        ) from error
    return probe


def _scale(told: Mapping[str, Any]) -> Scale:
    return Scale(tuple(told["slopes"]), told["shift"])


def _check_shapes(probe: Probe) -> None:
    hidden = len(probe.in_bias)
    n_banks, dimensions = probe.banks.shape
    features = 4 * dimensions + 2 * len(CATEGORIES) + 5
    fits = (
        probe.words.shape == (2, probe.config.buckets)
        and len(probe.words_bias) == 2
        and len(probe.config.bank_groups) == n_banks
        and probe.in_weight.shape == (features, hidden)
        and probe.out_weight.shape == (hidden, 1 + len(CATEGORIES))
        and probe.out_bias.shape == (1 + len(CATEGORIES),)
        and all(len(scale.slopes) == 3 for scale in probe.config.scales.values())
        and all(len(scale.slopes) == 4 for scale in probe.config.readers.values())
    )
    if not fits:
        raise ValueError("the tensors do not fit each other")
