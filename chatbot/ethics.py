"""Judges replies before one is chosen: how unethical each would be as an answer in its context.

A reply is compared, by the meaning of its sentences, with examples of what must not be said and of
what may, and rated by a probe that learned from labelled texts (`chatbot.ethics_probe`). What the
person said counts as context and is never judged itself: who insults gets a calm answer, and who
says that others deserve to suffer gets no "yes". Knows nothing of who wrote the replies.

Shapes: `n` replies, `D` dimensions of a vector.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chatbot.agreement import agrees, refers
from chatbot.embedding import Embedder, Vectors
from chatbot.errors import ModelError
from chatbot.ethics_probe import RETRAIN, Probe, language_of, load_probe, risk_of
from chatbot.example_set import Encoder, ExampleSet, load_vectors
from chatbot.exemplars import CATEGORIES, Category, Exemplar, read_exemplars, shipped_exemplars
from chatbot.types import Verdict

FOLDER = Path(__file__).with_name("pretrained_ethics")


class EthicsFilter:
    """Rates replies; make one with `EthicsFilter.load()`. Safe to share by threads."""

    def __init__(self, probe: Probe, embedder: Encoder, examples: ExampleSet):
        self.probe = probe
        self.embedder = embedder
        self._examples = examples

    @classmethod
    def load(
        cls, folder: str | Path | None = None, embedder: Encoder | None = None
    ) -> "EthicsFilter":
        """The shipped filter, or that of a folder written by `chatbot ethics train`.

        Args:
            embedder: shared with other parts; loaded anew if left out.

        Raises:
            ModelError: a file is missing or broken, or the filter was trained on other vectors.
        """
        folder = FOLDER if folder is None else Path(folder).expanduser()
        probe = load_probe(folder)
        embedder = Embedder.load() if embedder is None else embedder
        if embedder.identity["digest"] != probe.config.encoder:
            raise ModelError(
                f"the ethics filter in {folder} was trained on the vectors of another encoder "
                f"({probe.config.encoder[:12]}) than {embedder.identity['name']} "
                f"({embedder.identity['digest'][:12]}); {RETRAIN}"
            )
        known = load_vectors(folder)
        return cls(probe, embedder, ExampleSet.of(shipped_exemplars(), embedder, known))

    def with_exemplars(self, file: str | Path) -> "EthicsFilter":
        """A filter that knows the examples of a file as well, at once, without training.

        Raises:
            InputError: the file cannot be read; the message names the line.
        """
        added = ExampleSet.of(read_exemplars(file), self.embedder)
        return EthicsFilter(self.probe, self.embedder, self._examples + added)

    def describe(self) -> dict[str, object]:
        """What the filter consists of, in a few words and numbers."""
        config = self.probe.config
        return {
            "encoder": f"{self.embedder.identity['name']} {config.encoder[:12]}",
            "thresholds": dict(config.threshold),
            "examples": dict(Counter(one.side for one in self._examples.exemplars)),
            "banks": f"{len(self.probe.banks)} vectors",
            "words": f"{config.buckets} buckets",
        }

    def assess(self, context: Sequence[str], candidates: Sequence[str]) -> list[Verdict]:
        """A verdict for each of n candidates to answer the context; their order does not matter.

        One call of the encoder for all of them and the last turn of the context, which it
        remembers; earlier turns are not read.

        Args:
            context: turns, oldest first; the last is the one answered. May be empty.
        """
        if not candidates:
            return []
        user = context[-1] if context else ""
        texts = [*candidates, user] if user else list(candidates)
        vectors = self.embedder.encode(texts)
        replies = vectors[: len(candidates)]
        user_vector = vectors[-1] if user else np.zeros_like(vectors[0])
        judged = self._judge(candidates, user, replies, user_vector)
        verdicts = [one.verdict() for one in judged]
        doubtful = [i for i, one in enumerate(verdicts) if user and one.reason == "risky"]
        if doubtful:
            alone = self._judge(
                [candidates[i] for i in doubtful], "", replies[doubtful], np.zeros_like(user_vector)
            )
            for i, one in zip(doubtful, alone, strict=True):
                if one.verdict().accepted:
                    verdicts[i] = replace(verdicts[i], reason="risky_here")
        agreeing = [i for i, text in enumerate(candidates) if user and agrees(text)]
        if agreeing:  # a yes is as bad as what it is said to
            bad = [one.verdict() for one in self._said(context) if not one.verdict().accepted]
            for i in agreeing if bad else ():
                worst = max(bad, key=lambda one: one.risk)
                verdicts[i] = replace(
                    verdicts[i], risk=max(verdicts[i].risk, worst.risk), category=worst.category,
                    reason="risky_here", accepted=False,
                )  # fmt: skip
        return verdicts

    def _said(self, context: Sequence[str]) -> list["_Judged"]:
        """What the person said, judged as if it were a reply; with what it refers back to."""
        said = [context[-1], *([context[-3]] if len(context) > 2 and refers(context[-1]) else [])]
        vectors = self.embedder.encode(said)
        return self._judge(said, "", vectors, np.zeros_like(vectors[0]))

    def _judge(
        self, candidates: Sequence[str], user: str, replies: Vectors, user_vector: Vectors
    ) -> list["_Judged"]:
        """The numbers of each candidate; (n, D) replies, (D,) user_vector."""
        numbers, categories = self.probe(candidates, user, replies, user_vector)
        users = np.broadcast_to(user_vector, replies.shape)
        likeness = self._examples.likeness(replies, users)
        pull = self._examples.pull(likeness, self.probe.config.near_to(candidates))
        nearest = likeness.argmax(1)
        judged = []
        for i, text in enumerate(candidates):
            language = language_of(text)
            odds = float(self.probe.config.scales[language].log_odds(numbers[i]))
            judged.append(
                _Judged(
                    threshold=self.probe.config.threshold[language],
                    learned=risk_of(odds),
                    risk=risk_of(odds + float(pull[i]) * self.probe.config.pull),
                    category=CATEGORIES[int(categories[i].argmax())],
                    nearest=self._examples.exemplars[nearest[i]],
                    similarity=float(likeness[i, nearest[i]]),
                )
            )
        return judged


@dataclass(frozen=True, slots=True)
class _Judged:
    """What was found about a candidate.

    Attributes:
        threshold: risk from which its language is rejected.
        learned: risk by the probe alone.
        risk: with what the examples add.
        category: likeliest, if there is anything wrong with it.
    """

    threshold: float
    learned: float
    risk: float
    category: Category
    nearest: Exemplar
    similarity: float

    def verdict(self) -> Verdict:
        category: str = self.category
        reason = "risky"
        if self.risk < self.threshold:
            category, reason = "none", "accepted"
        elif self.learned < self.threshold:
            category, reason = self.nearest.category, "like_example"
        return Verdict(
            self.risk, category, self.nearest.text, self.similarity, reason, reason == "accepted"
        )
