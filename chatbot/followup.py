"""How likely a message goes on with the subject of the turns before it.

A logistic regression over a few features that a reader would name: how near the message lies to
the earlier turns, how much it says by itself, which words it begins with. The word lists are
`rules/followups.json`; the weights belong to an encoder and come with the topic detector.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import ModelError
from chatbot.ngrams import hangul_share, split_words

SHIPPED = Path(__file__).with_name("rules") / "followups.json"
FEATURES = ("bias", "nearness", "own_words", "points_back", "connects", "changes_subject")
_MANY_WORDS = 6.0


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The weights of `FEATURES` and the word lists they are counted with.

    Attributes:
        words: list name -> words: `function` says nothing by itself, `back` points at something
            said before, `connect` begins a message that goes on, `change` announces a new subject.
    """

    weights: Mapping[str, float]
    words: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, weights: Mapping[str, float], path: Path = SHIPPED) -> "FollowUp":
        """The word lists that are shipped, or of another file of the same form, with weights.

        Raises:
            ModelError: the file cannot be read.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            words = {
                name: frozenset(word for words in told[name].values() for word in words)
                for name in ("function", "back", "connect", "change")
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} cannot be read as lists of words: {error}") from error
        return cls(weights, words)

    def own_words(self, text: str) -> int:
        """How many words of a message say something by themselves; none of "And why is that?"."""
        lists = self.words
        empty = lists["function"] | lists["back"] | lists["connect"]
        return sum(word not in empty for word in _spoken(text))

    def features(
        self, text: str, vector: NDArray[np.float32], earlier: NDArray[np.float32]
    ) -> dict[str, float]:
        """The features of a message, each about between 0 and 1.

        Args:
            vector: (D,) unit vector of the text.
            earlier: (n, D) unit vectors of the turns it may go on with, at least one.
        """
        words, lists, own = _spoken(text), self.words, self.own_words(text)
        spaced = " ".join(words)
        return {
            "bias": 1.0,
            "nearness": float(np.max(earlier @ vector)),
            # Korean puts into one word what English says in about two.
            "own_words": min(1.0, own * (1.6 if hangul_share(text) > 0.5 else 1.0) / _MANY_WORDS),
            "points_back": float(any(word in lists["back"] for word in words)),
            "connects": float(bool(words) and words[0] in lists["connect"]),
            "changes_subject": float(any(phrase in spaced for phrase in lists["change"])),
        }

    def probability(
        self, text: str, vector: NDArray[np.float32], earlier: NDArray[np.float32]
    ) -> float:
        """That the message goes on with the subject of the earlier turns."""
        features = self.features(text, vector, earlier)
        return 1 / (1 + math.exp(-sum(self.weights[name] * features[name] for name in FEATURES)))


def _spoken(text: str) -> list[str]:
    return [word for word in split_words(text) if any(map(str.isalnum, word))]
