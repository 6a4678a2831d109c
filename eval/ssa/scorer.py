"""Sensibleness and specificity of replies, each judged from its context alone, with reasons.

Knows what the scorer is made of and in which order it is asked; what each part measures stands
in `encoding`, `matching`, `features` and `detectors`, how it becomes a probability in `judge`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from chatbot.embedding import MINILM_SHA256
from chatbot.errors import ModelError
from eval.ssa.detectors import Finding, find_faults, generic_reply
from eval.ssa.encoding import Encoders, Floats
from eval.ssa.features import Tables
from eval.ssa.judge import Judge, Measures
from eval.ssa.korean import KoreanFit
from eval.ssa.matching import TURNS, Matcher, stacked
from eval.ssa.words import is_korean, normalise

SHIPPED = Path(__file__).parent / "pretrained"
CARD, READER, MATCHER, TABLES = (
    "scorer.json", "reader.safetensors", "matcher.safetensors", "tables.safetensors",
)  # fmt: skip

KOREAN_IS_PARTIAL = "korean: partial"
"""Told with every Korean pair."""

_SHARPNESS = 10.0
"""Of the soft maximum over turns elsewhere, in similarities."""

_NOTHING_SAID = ("hello",)
"""A reply to nothing opens a conversation."""

Pair = tuple[Sequence[str], str]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """What is thought of one reply.

    Attributes:
        sensible: probability that people call it sensible, 0 to 1.
        specific: the same for specific; never above `sensible`.
        ssa: the mean of the two.
        reasons: what was found wrong, readable; empty where nothing was.
    """

    sensible: float
    specific: float
    ssa: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A pair in the one spelling that everything is measured on."""

    context: tuple[str, ...]
    reply: str
    faults: tuple[Finding, ...]
    is_korean: bool

    @classmethod
    def of(cls, pair: Pair) -> "Exchange":
        context = tuple(normalise(turn) for turn in pair[0] if turn.strip()) or _NOTHING_SAID
        reply = normalise(pair[1])
        korean = is_korean([*context[-2:], reply])
        return cls(context, reply, tuple(find_faults(context, reply)), korean)


class Scorer:
    """Scores pairs of context and reply; read-only after loading and safe to share by threads.

    Attributes:
        identity: name, and digest of all weights with MiniLM's.
        judge: what makes probabilities of measures, in English.
    """

    def __init__(
        self, encoders: Encoders, matcher: Matcher, tables: Tables,
        judge: Judge, korean_judge: Judge, identity: dict[str, str],
    ):  # fmt: skip
        self._encoders, self._matcher = encoders, matcher
        self._tables, self.judge, self._korean_judge = tables, judge, korean_judge
        self._korean_fit = KoreanFit()
        self._bank = tables.bank.astype(np.float32)
        bank = np.stack([stacked([turn], encoders.dimensions) for turn in self._bank])
        self._bank_contexts = matcher.contexts(bank)
        self.identity = identity

    @classmethod
    def load(cls, folder: Path | None = None) -> "Scorer":
        """The shipped scorer, or one made by `train`.

        Raises:
            ModelError: a file is missing or not what it should be.
        """
        place = SHIPPED if folder is None else Path(folder)
        try:
            card: dict[str, Any] = json.loads((place / CARD).read_text("utf-8"))
            judges = Judge.from_card(card["judge"]), Judge.from_card(card["korean"])
            tables = Tables.load(place / TABLES)
            matcher = Matcher(
                {k: v.astype(np.float32) for k, v in load_file(place / MATCHER).items()}
            )
            encoders = Encoders.load(place / READER)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ModelError(
                f"no scorer in {place}: {error}; give a folder made by `chatbot eval ssa train`"
            ) from error
        identity = {"name": str(card["name"]), "digest": _digest(place)}
        return cls(encoders, matcher, tables, *judges, identity)

    def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """A score for each pair of (context turns, oldest first; reply), whatever the others."""
        exchanges = [Exchange.of(pair) for pair in pairs]
        if not exchanges:
            return []
        scores: list[Score | None] = [None] * len(exchanges)
        for korean, judge in ((False, self.judge), (True, self._korean_judge)):
            places = [i for i, e in enumerate(exchanges) if e.is_korean == korean]
            if not places:
                continue
            asked = [exchanges[i] for i in places]
            measured = self.korean_measures(asked) if korean else self.measures(asked)
            sensible, specific = judge.probabilities(measured)
            for i, a, b in zip(places, sensible, specific, strict=True):
                scores[i] = _score(exchanges[i], float(a), float(b))
        return [score for score in scores if score is not None]

    def korean_measures(self, exchanges: Sequence[Exchange]) -> Measures:
        """The same for Korean, where the generator stands for the encoders."""
        shared, gain, per_piece = self._korean_fit.measures(
            [(e.context, e.reply) for e in exchanges]
        )
        return self._measures(exchanges, shared, gain, per_piece)

    def measures(self, exchanges: Sequence[Exchange]) -> Measures:
        """What the judge is told of each exchange in English."""
        texts = list(dict.fromkeys(t for e in exchanges for t in (*e.context[-TURNS:], e.reply)))
        known = dict(zip(texts, self._encoders.vectors(texts), strict=True))
        replies = np.stack([known[e.reply] for e in exchanges])
        turns = self._turns(exchanges, known)  # (P, T, D)
        near = np.einsum("pd,pd->p", turns[:, 0], replies) - self._elsewhere(replies)
        contexts, answers = self._matcher.contexts(turns), self._matcher.replies(replies)
        scale = float(self._matcher.weights["scale"][0])
        match = scale * np.einsum("pd,pd->p", contexts, answers) - _log_mean_exp(
            self._matcher.logits(answers, self._bank_contexts)
        )
        read = self._encoders.reads([(e.context, e.reply) for e in exchanges])
        return self._measures(exchanges, *(m.astype(float) for m in (near, match, read)))

    def _measures(
        self, exchanges: Sequence[Exchange], near: Values, match: Values, read: Values
    ) -> Measures:
        tables = self._tables
        return Measures(
            near=near,
            match=match,
            read=read,
            rarity=np.array([tables.rarity(e.reply) for e in exchanges]),
            habit=np.array([tables.said_anywhere(e.reply) for e in exchanges]),
            is_generic=np.array([float(generic_reply(e.reply)) for e in exchanges]),
            kept=np.array([np.prod([f.keeps for f in e.faults]) for e in exchanges]),
        )

    def _turns(self, exchanges: Sequence[Exchange], known: dict[str, Floats]) -> Floats:
        """(P, T, D) vectors of the last turns, the last one first."""
        return np.stack(
            [
                stacked([known[turn] for turn in e.context[-TURNS:]], self._encoders.dimensions)
                for e in exchanges
            ]
        )

    def _elsewhere(self, replies: Floats) -> Floats:
        """(P,) soft maximum of a reply's similarities to turns that it does not answer."""
        return _log_mean_exp(_SHARPNESS * (replies @ self._bank.T)) / np.float32(_SHARPNESS)


def _log_mean_exp(values: Floats) -> Floats:
    """(P, C) -> (P,), log of the mean of the exponentials."""
    most = values.max(1, keepdims=True)
    return most[:, 0] + np.log(np.exp(values - most).mean(1))


def _score(exchange: Exchange, sensible: float, specific: float) -> Score:
    reasons = tuple(str(fault) for fault in exchange.faults)
    if exchange.is_korean:
        reasons += (KOREAN_IS_PARTIAL,)
    sensible, specific = round(sensible, 4), round(min(sensible, specific), 4)
    return Score(sensible, specific, round((sensible + specific) / 2, 5), reasons)


def _digest(folder: Path) -> str:
    """SHA-256 over the files of a scorer and the digest of the MiniLM that they change."""
    digest = hashlib.sha256(MINILM_SHA256.encode())
    for name in (CARD, READER, MATCHER, TABLES):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
