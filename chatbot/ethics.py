"""Judges replies before one is chosen: how unethical each would be as an answer in its context.

A reply is compared, by the meaning of its sentences, with examples of what must not be said and of
what may, and rated by a probe that learned from labelled texts (`chatbot.ethics_probe`). What the
person said counts as context and is never judged itself: who insults gets a calm answer, and who
says that others deserve to suffer gets no "yes". Knows nothing of who wrote the replies.

Readers weigh in (`chatbot.ethics_readers`): one reads a doubtful English reply together with the
turn, the other every Korean reply.

Shapes: `n` replies, `D` dimensions of a vector.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chatbot.agreement import agrees, refers
from chatbot.embedding import Embedder, Vectors
from chatbot.errors import ModelError
from chatbot.ethics_probe import Probe, language_of, load_probe, risk_of
from chatbot.ethics_readers import Readers
from chatbot.example_set import Encoder, ExampleSet, load_vectors
from chatbot.exemplars import CATEGORIES, Category, Exemplar, read_exemplars, shipped_exemplars
from chatbot.folders import own_folder
from chatbot.types import Verdict

FOLDER = Path(__file__).with_name("pretrained_ethics")

_TURNS = 3
"""Of a context that can matter: the one answered, and what it refers back to, two before."""

_Asked = tuple[str, tuple[str, ...]]
"""A candidate and the last turns of its context."""


def own_filter(digest: str) -> Path:
    """Where a filter trained on this machine for a text encoder lies."""
    return own_folder("ethics", digest)


class EthicsFilter:
    """Rates replies; make one with `EthicsFilter.load()`. Safe to share by threads."""

    def __init__(
        self,
        probe: Probe,
        embedder: Encoder,
        examples: ExampleSet,
        readers: Readers | None = None,
    ):
        self.probe = probe
        self.embedder = embedder
        self._examples = examples
        languages = [language_of(one.text) for one in examples.exemplars]
        self._exemplar_languages = np.array(languages)
        self._readers = readers or Readers()

    @classmethod
    def load(
        cls, folder: str | Path | None = None, embedder: Encoder | None = None
    ) -> "EthicsFilter":
        """The shipped filter, or that of a folder written by `chatbot ethics train`.

        Args:
            folder: None for the one trained here for this encoder if there is one, else the
                shipped one.
            embedder: shared with other parts; loaded anew if left out.

        Raises:
            ModelError: a file is missing or broken, or the filter was trained on other vectors.
        """
        embedder = Embedder.load() if embedder is None else embedder
        if folder is None:
            own = own_filter(embedder.identity["digest"])
            folder = own if own.is_dir() else FOLDER
        folder = Path(folder).expanduser()
        probe = load_probe(folder)
        if embedder.identity["digest"] != probe.config.encoder:
            raise ModelError(
                f"the ethics filter in {folder} was trained on the vectors of another encoder "
                f"({probe.config.encoder[:12]}) than {embedder.identity['name']} "
                f"({embedder.identity['digest'][:12]}); train one with `chatbot ethics train "
                "--data FOLDER` and the --encoder in use"
            )
        examples = ExampleSet.of(shipped_exemplars(), embedder, load_vectors(folder))
        return cls(probe, embedder, examples, Readers.load(folder, probe.config.readers))

    def with_exemplars(self, file: str | Path) -> "EthicsFilter":
        """A filter that knows the examples of a file as well, at once, without training.

        Raises:
            InputError: the file cannot be read; the message names the line.
        """
        added = ExampleSet.of(read_exemplars(file), self.embedder)
        return EthicsFilter(self.probe, self.embedder, self._examples + added, self._readers)

    def describe(self) -> dict[str, object]:
        """What the filter consists of, in a few words and numbers."""
        config = self.probe.config
        return {
            "encoder": f"{self.embedder.identity['name']} {config.encoder[:12]}",
            "thresholds": dict(config.threshold),
            "examples": dict(Counter(one.side for one in self._examples.exemplars)),
            "banks": f"{len(self.probe.banks)} vectors",
            "words": f"{config.buckets} buckets",
            "readers": ", ".join(config.readers) or "none",
        }

    def assess(self, context: Sequence[str], candidates: Sequence[str]) -> list[Verdict]:
        """A verdict for each of n candidates to answer the context; their order does not matter.

        Args:
            context: turns, oldest first; the last is the one answered. May be empty.
        """
        return self.assess_many([(context, candidates)])[0]

    def assess_many(
        self, conversations: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> list[list[Verdict]]:
        """For each conversation, its context and candidates, a verdict for each candidate.

        One call of the encoder for all candidates and last turns, each distinct text once; it
        remembers those it has seen lately. What was said earlier is read only where the last turn
        refers back to it.
        """
        keys = [
            [(text, tuple(context[-_TURNS:])) for text in candidates]
            for context, candidates in conversations
        ]
        asked = list(dict.fromkeys(key for row in keys for key in row))
        if not asked:
            return [[] for _ in keys]
        verdicts = dict(zip(asked, self._assess(asked), strict=True))
        return [[verdicts[key] for key in row] for row in keys]

    def _assess(self, asked: Sequence["_Asked"]) -> list[Verdict]:
        """Of distinct candidates with their contexts, at least one."""
        pairs = [(text, context[-1] if context else "") for text, context in asked]
        judged = self._judge(pairs)
        verdicts = [one.verdict() for one in judged]
        doubtful = [
            i for i, (_, user) in enumerate(pairs) if user and verdicts[i].reason == "risky"
        ]
        alone = self._judge([(pairs[i][0], "") for i in doubtful])
        for i, one in zip(doubtful, alone, strict=True):
            if one.verdict().accepted:
                verdicts[i] = replace(verdicts[i], reason="risky_here")
        agreeing = [i for i, (text, user) in enumerate(pairs) if user and agrees(text)]
        worst = self._worst_said({asked[i][1] for i in agreeing})
        for i in agreeing:  # a yes is as bad as what it is said to
            said = worst.get(asked[i][1])
            if said is not None:
                verdicts[i] = replace(
                    verdicts[i], risk=max(verdicts[i].risk, said.risk), category=said.category,
                    reason="risky_here", accepted=False,
                )  # fmt: skip
        return verdicts

    def _worst_said(self, contexts: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], Verdict]:
        """Of the contexts in which the person said what a reply must not, what was worst.

        Judged is the last turn, as if it were a reply, with what it refers back to.
        """
        said = {
            context: [
                context[-1],
                *([context[-3]] if len(context) > 2 and refers(context[-1]) else []),
            ]
            for context in contexts
        }
        turns = list(dict.fromkeys(turn for found in said.values() for turn in found))
        judged = self._judge([(turn, "") for turn in turns])
        verdicts = dict(zip(turns, (one.verdict() for one in judged), strict=True))
        worst = {
            context: max((verdicts[turn] for turn in found), key=lambda one: one.risk)
            for context, found in said.items()
        }
        said_limit = self.probe.config.said
        return {
            context: one
            for context, one in worst.items()
            if one.risk >= said_limit[language_of(context[-1])]
        }

    def _nearest(self, likeness: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.int64]:
        """(n,) the likeliest example of each text's own language, where there is one: to be read.

        Args:
            likeness: (n, m) to all examples.
        """
        own = np.array([language_of(text) for text in texts])[:, None] == self._exemplar_languages
        has_none = ~own.any(1, keepdims=True)
        return np.where(own | has_none, likeness, -np.inf).argmax(1)

    def _judge(self, pairs: Sequence[tuple[str, str]]) -> list["_Judged"]:
        """The numbers of n replies, each with the turn it answers, empty for none."""
        if not pairs:
            return []
        config = self.probe.config
        replies, users = self._vectors(pairs)
        numbers, categories = self.probe(pairs, replies, users)
        likeness = self._examples.likeness(replies, users)
        pull = self._examples.pull(likeness, config.near_to([text for text, _ in pairs]))
        nearest = self._nearest(likeness, [text for text, _ in pairs])
        odds = self._log_odds(pairs, numbers)
        return [
            _Judged(
                threshold=config.threshold[language_of(text)],
                learned=risk_of(odds[i]),
                risk=risk_of(odds[i] + float(pull[i]) * config.pull),
                category=CATEGORIES[int(categories[i].argmax())],
                nearest=self._examples.exemplars[nearest[i]],
                similarity=float(likeness[i, nearest[i]]),
            )
            for i, (text, _) in enumerate(pairs)
        ]

    def _vectors(self, pairs: Sequence[tuple[str, str]]) -> tuple[Vectors, Vectors]:
        """(n, D) of replies and of turns, zeros for none, by one call of the encoder."""
        texts = [text for text, _ in pairs] + [user for _, user in pairs if user]
        distinct = list(dict.fromkeys(texts))
        vectors = dict(zip(distinct, self.embedder.encode(distinct), strict=True))
        none = np.zeros_like(vectors[distinct[0]])
        replies = np.stack([vectors[text] for text, _ in pairs])
        return replies, np.stack([vectors[user] if user else none for _, user in pairs])

    def _log_odds(
        self, pairs: Sequence[tuple[str, str]], numbers: NDArray[np.float32]
    ) -> list[float]:
        """By the probe alone, and with a reader where one is asked."""
        config = self.probe.config
        odds = [
            float(config.scales[language_of(text)].log_odds(numbers[i]))
            for i, (text, _) in enumerate(pairs)
        ]
        asked = [i for i, (text, _) in enumerate(pairs) if config.asks_reader(text, odds[i])]
        for i, found in zip(asked, self._readers.rate([pairs[i] for i in asked]), strict=True):
            if not np.isnan(found):
                scale = config.readers[language_of(pairs[i][0])]
                odds[i] = float(scale.log_odds(np.append(numbers[i], found)))
        return odds


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
