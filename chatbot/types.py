"""The values of one turn: what is asked, what is reported while it runs, what comes back.

Frozen and free of tensors, so that they can be logged, stored and sent. They know nothing of
models.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.policy import Fired

MAX_CANDIDATES = 256
MAX_NEW_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Sampling:
    """How candidates are drawn: sample-and-rank of Meena (Adiwardana et al. 2020, section 2.2).

    Attributes:
        candidates: replies drawn in one batch, N.
        temperature: divides the logits; 0 takes the likeliest piece every time. Meena has 0.88; a
            small model says more that makes sense at 0.7 (docs/training.md).
        top_k: only the k likeliest pieces, and those as likely as the k-th, can be drawn; 0 for
            no limit.
        top_p: only the likeliest pieces that hold this share of the probability can be drawn.
        max_new_tokens: pieces of a reply at most, end included.
    """

    candidates: int = 20
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    max_new_tokens: int = 40

    def __post_init__(self) -> None:
        _whole("candidates", self.candidates, 1, MAX_CANDIDATES)
        if self.temperature != 0:  # less than 0.01 would leave the range of float32
            _within("temperature", self.temperature, 0.01, 10, besides="0 or ")
        _whole("top_k", self.top_k, 0, 1 << 20)
        _within("top_p", self.top_p, 1e-6, 1)
        _whole("max_new_tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the reply is chosen among the candidates.

    score = (log p(reply | context) - novelty * log p(reply | no context)) / length^length_power
            + coherence * (how well it answers, in nats of `chatbot.coherence`)
            + fit * (how far the candidate shows the attributes asked for, and reacts as the topic
              rules that fired prefer)
            - monotony * (how often it does again what the bot has just done)
            - risk * (how unethical the filter holds it, 0 to 1)

    Attributes:
        novelty: weight of the mutual-information term (Li et al. 2016), which lowers replies
            that fit any context; 0 leaves it out.
        length_power: 1 gives the mean log-likelihood per piece as in Meena, 0 the sum.
        coherence: weight of how well the candidate answers this conversation rather than any; 0
            leaves it out, and nothing is computed.
        repeat_words: a candidate that shares a run of this many words with an earlier turn is
            dropped.
        fit: added to the score, in nats, for a candidate that shows all that was asked at full
            strength; it buys attributes at the price of likelihood.
        monotony: taken off the score, in nats, for each of the bot's turns in a row, but for the
            first, that asked something, where the candidate asks as well, and for each of its
            sentences that the bot has said before.
        risk: taken off the score, in nats, of a candidate whose risk is 1; the filter drops those
            above its threshold in any case.
    """

    novelty: float = 0.0
    length_power: float = 1.0
    coherence: float = 1.0
    repeat_words: int = 5
    fit: float = 4.0
    monotony: float = 0.4
    risk: float = 2.0

    def __post_init__(self) -> None:
        _within("novelty", self.novelty, 0, 2)
        _within("length_power", self.length_power, 0, 2)
        _within("coherence", self.coherence, 0, 10)
        _whole("repeat_words", self.repeat_words, 2, 100)
        _within("fit", self.fit, 0, 100)
        _within("monotony", self.monotony, 0, 100)
        _within("risk", self.risk, 0, 100)


def _whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; give a whole number from {least} to {most}")


def _within(name: str, value: float, least: float, most: float, besides: str = "") -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # also refuses NaN
        raise InputError(f"{name} is {value!r}; give {besides}a number from {least:g} to {most:g}")


Finish = Literal["end", "length", "stopped"]
Dropped = Literal[
    "empty",
    "broken_text",
    "duplicate",
    "repeats_turn",
    "repeats_itself",
    "other_language",
    "rejected",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ethics filter says about one reply.

    Attributes:
        risk: 0 to 1, the share of replies so rated that people called unethical.
        category: of what is wrong; "none" for an accepted reply.
        nearest: text of the nearest example, of whichever side.
        similarity: to it, the cosine of the vectors.
        reason: "accepted"; "like_example", near an unethical example; "risky_here", harmless alone
            but not as an answer to this turn, such as agreement with an insult; "risky", by what
            was learned.
        accepted: may be said.
    """

    risk: float
    category: str
    nearest: str
    similarity: float
    reason: str
    accepted: bool


Outcome = Literal["chosen", "regenerated", "deflected"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One drawn reply with what decided about it.

    Attributes:
        text: without special tokens.
        token_ids: pieces as drawn, without the start; the last is the end when finish is "end".
        log_likelihood: log p(token_ids | context) in nats, of the model untouched by temperature.
        log_likelihood_alone: the same without any context; None when novelty was 0.
        coherence: how well it answers, in nats; None when the ranking gave it no weight.
        fit: how far it shows what the controls ask, from 0 to 1, weighted by the strengths, and
            reacts as the topic rules that fired prefer; None where nothing is asked.
        monotony: how often it does again what the bot has just done; see `Ranking`.
        share: of the strengths asked for, that it was drawn with; None where nothing is asked.
        score: what the ranking sorts by; None before ranking.
        finish: the model ended it, it met the length limit, or the person stopped it.
        dropped: why it cannot be the reply, or None.
        row: its place among the drawn, from 0.
        verdict: what the ethics filter says; None where there is none.
    """

    text: str
    token_ids: tuple[int, ...]
    log_likelihood: float
    finish: Finish
    log_likelihood_alone: float | None = None
    coherence: float | None = None
    fit: float | None = None
    monotony: int = 0
    share: float | None = None
    score: float | None = None
    dropped: Dropped | None = None
    row: int = 0
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class AttributeTrace:
    """What one attribute was asked for in a reply, and what came.

    Attributes:
        strength: asked in this turn.
        language: of the words; None for a list in any.
        digest: of the word list.
        wanted: words that the strength asks for, soft members counted by their weight.
        realised: words that came, counted so.
        words: which ones, as they stand in the list.
        missed: pieces at which its mass was out of reach beside those of the other attributes.
        push: how far its learned head moved the state, in multiples of the head's shift; 0 without.
        head: digest of that head.
        reading: probability that the reply shows it, read from the finished text; None without.
    """

    strength: float
    language: str | None
    digest: str = ""
    wanted: float = 0.0
    realised: float = 0.0
    words: tuple[str, ...] = ()
    missed: int = 0
    push: float = 0.0
    head: str = ""
    reading: float | None = None


@dataclass(frozen=True, slots=True)
class TokenTrace:
    """What steering did to the choice of one piece; all empty where the gate was closed.

    Attributes:
        before, after: of each attribute, before and after: the mass of its words, or where it is
            steered by gradients its log-likelihood.
        price: log-odds by which its words were raised.
        kl: nats spent, the divergence of the steered distribution from the clean one.
        gain: nats by which steering made the piece that was drawn likelier.
        text: the piece.
    """

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    price: Mapping[str, float] = field(default_factory=dict)
    kl: float = 0.0
    gain: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class SteeringTrace:
    """How the chosen reply was steered.

    Attributes:
        monotony: how often it does again what the bot has just done; see `Ranking`.
        share: of the strengths asked for, that this candidate was drawn with.
        tokens: one for each piece of the reply.
    """

    mode: Literal["hidden", "layers", "pplm"]
    share: float
    attributes: Mapping[str, AttributeTrace]
    tokens: tuple[TokenTrace, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is needed to explain a reply and to draw it again.

    Attributes:
        model: name and digest of the weights.
        turns: the conversation as it was read, oldest first.
        prompt_ids: what the encoder read.
        dropped_turns: oldest turns that did not fit the context window.
        truncated_pieces: pieces cut from the start of the last turn, which did not fit alone.
        prompt_format: name of how the conversation was written for the model.
        steps: decoding steps taken.
        controls: what was asked beside an answer; None for nothing.
        steered_by: the controls after the topic rules; None where they changed nothing.
        rules: the topic rules that fired, the surest first.
        topics: probability of each sensitive topic in the last turn; empty without rules.
        steering: what came of it; None where there was nothing to steer.
        outcome: the reply was chosen among the candidates; all were rejected and it comes from a
            second drawing, held neutral; or these were rejected too and it is a deflection.
        notes: things the reader of the reply should know, in words.
    """

    model: Mapping[str, str]
    turns: tuple[str, ...]
    seed: int
    sampling: Sampling
    ranking: Ranking
    prompt_ids: tuple[int, ...]
    dropped_turns: int
    truncated_pieces: int
    steps: int
    controls: Controls | None = None
    steered_by: Controls | None = None
    rules: tuple[Fired, ...] = ()
    topics: Mapping[str, float] = field(default_factory=dict)
    steering: SteeringTrace | None = None
    outcome: Outcome = "chosen"
    notes: tuple[str, ...] = ()
    prompt_format: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with the evidence for it.

    Attributes:
        text: the chosen candidate's text; never empty unless the reply was stopped.
        candidates: all of them, best first, dropped ones last.
        seed: give it again, with the same turns, to get the same reply.
        timings: seconds of each phase and `total`.
        stopped: the person ended it before it was done; `text` is the best of what there was.
    """

    text: str
    candidates: tuple[Candidate, ...]
    trace: Trace
    seed: int
    timings: Mapping[str, float] = field(default_factory=dict)
    stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """Sent after every decoding step: "12 of 40 tokens, 20 candidates, 3 done"."""

    tokens: int
    max_tokens: int
    candidates: int
    finished: int
