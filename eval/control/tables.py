"""Judges the answers of a run: what each condition reaches and what it costs.

Everything here is a function of the answers and the judges; nothing is drawn.

Shapes: `n` contexts, `S` strengths or turns, `K` labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatbot.controls import Controls, Mode
from eval.control import metrics
from eval.control.answers import Answer, Answers, Request, same_attributes
from eval.control.metrics import Estimate
from eval.control.plan import PLAIN, Condition, Run, conditions, full, graded_controls, ranked
from eval.judges import Jury, Verdict

MATCHED = 1.25
"""Perplexity ratio at which modes are compared where all of them can spend as much."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The answers of one condition with what the judges say.

    Attributes:
        to_last: (n,) cosine of each answer to the turn it answers.
    """

    answers: Sequence[Answer]
    verdict: Verdict
    to_last: NDArray[np.float32]

    @property
    def nats(self) -> list[float]:
        return [one.nats for one in self.answers]

    @property
    def pieces(self) -> list[int]:
        return [one.pieces for one in self.answers]


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute in one condition, against the unsteered replies to the same contexts.

    Attributes:
        success: share of replies in which it is likelier than all labels of its family that were
            not asked for.
        passes: share in which its probability reaches the threshold.
        perplexity: ratio to the unsteered replies.
        cosine: to the last turn, less that of the unsteered reply.
        information: log p(reply | context) - log p(reply) per piece in nats, less that of the
            unsteered reply.
    """

    attribute: str
    condition: Condition
    success: Estimate
    plain_success: Estimate
    passes: Estimate
    plain_passes: Estimate
    probability: Estimate
    perplexity: Estimate
    cosine: Estimate
    information: Estimate
    pieces: float
    distinct_1: float
    distinct_2: float


@dataclass(frozen=True, slots=True)
class Curve:
    """How an attribute follows the strength asked for.

    Attributes:
        strengths: 0 and those of the run.
        probability: mean judged probability at each.
        success: share of replies judged to show it at each.
        perplexity: ratio at each.
        of_means: rank correlation of strength and mean probability.
        of_each: mean over contexts of the rank correlation within one.
    """

    attribute: str
    mode: str
    strengths: Sequence[float]
    probability: Sequence[float]
    success: Sequence[float]
    perplexity: Sequence[float]
    of_means: Estimate
    of_each: Estimate


@dataclass(frozen=True, slots=True)
class Graded:
    """How an attribute rises over a conversation in which it was asked to.

    Attributes:
        probability: mean judged probability in each turn; `plain` without steering.
        of_each: mean over conversations of the rank correlation of turn and probability.
        of_means: rank correlation of the turn and the mean over conversations.
    """

    attribute: str
    mode: str
    probability: Sequence[float]
    plain: Sequence[float]
    of_means: Estimate
    of_each: Estimate
    plain_of_each: Estimate


@dataclass(frozen=True, slots=True)
class Matched:
    """Success of the ways of steering at the same perplexity ratio; None where out of reach."""

    attribute: str
    perplexity: float
    success: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Tables:
    """All that a report shows.

    Attributes:
        rows: of every steered or ranked condition.
        leakage: mode and attribute asked at full strength -> change of the share of each label in
            points.
        labels: columns of `leakage`.
        digests: of the attributes that steered.
    """

    rows: Sequence[Row]
    plain: Row
    leakage: Mapping[str, Mapping[str, Sequence[float]]]
    labels: Sequence[str]
    curves: Sequence[Curve]
    graded: Sequence[Graded]
    matched: Sequence[Matched]
    digests: Mapping[str, str]


Watch = Callable[[Sequence[Condition]], Any]


def make_tables(run: Run, answers: Answers, jury: Jury, *, watch: Watch = iter) -> Tables:
    """The tables of a run; draws what is missing if `answers` has a bot.

    Args:
        watch: passes on the conditions, for a progress bar.

    Raises:
        InputError: replies are missing and cannot be drawn, or do not belong together.
    """
    last = jury.vectors([context.turns[-1] for context in run.contexts])
    judged: dict[Condition, Judged] = {}
    for condition in watch(list(conditions(run))):
        given = answers.answer(requests(run, condition.controls()))
        texts = [one.text for one in given]
        to_last = np.einsum("nd,nd->n", jury.vectors(texts), last)
        judged[condition] = Judged(given, jury.judge(texts), to_last)
    digests = same_attributes([one for held in judged.values() for one in held.answers])
    plain = judged[PLAIN]
    rows = [
        row(name, condition, held, plain)
        for condition, held in judged.items()
        for name in condition.attributes
    ]
    leaks, labels = _leakage(run, judged, jury)
    curves = [_curve(run, judged, name, mode) for mode in run.modes for name in run.attributes]
    return Tables(
        rows=rows,
        plain=row(run.attributes[0], PLAIN, plain, plain),
        leakage=leaks,
        labels=labels,
        curves=curves,
        graded=[
            graded(run, answers, jury, name, mode) for mode in run.modes for name in run.graded
        ],
        matched=[_matched(run, curves, rows, name) for name in run.attributes],
        digests=digests,
    )


def requests(run: Run, controls: Controls) -> list[Request]:
    """One for each context; a context has the same seed whatever is asked of the bot."""
    return [
        Request(context.turns, controls, run.seed + place)
        for place, context in enumerate(run.contexts)
    ]


def row(attribute: str, condition: Condition, held: Judged, plain: Judged) -> Row:
    """One attribute in one condition."""
    texts = [one.text for one in held.answers]
    return Row(
        attribute=attribute,
        condition=condition,
        success=metrics.mean(held.verdict.is_likeliest(attribute, condition.attributes)),
        plain_success=metrics.mean(plain.verdict.is_likeliest(attribute, condition.attributes)),
        passes=metrics.mean(held.verdict.passes(attribute)),
        plain_passes=metrics.mean(plain.verdict.passes(attribute)),
        probability=metrics.mean(held.verdict.of(attribute)),
        perplexity=metrics.perplexity_ratio(held.nats, held.pieces, plain.nats, plain.pieces),
        cosine=metrics.mean(held.to_last - plain.to_last),
        information=metrics.mean(_information(held) - _information(plain)),
        pieces=float(np.mean(held.pieces)),
        distinct_1=metrics.distinct(texts, 1),
        distinct_2=metrics.distinct(texts, 2),
    )


def graded(run: Run, answers: Answers, jury: Jury, attribute: str, mode: Mode) -> Graded:
    """An attribute that rises over conversations, and the same conversations unsteered."""
    steered = _talk(run, answers, jury, attribute, graded_controls(attribute, mode))
    plain = _talk(run, answers, jury, attribute, Controls())
    turns = list(range(1, steered.shape[1] + 1))
    return Graded(
        attribute=attribute,
        mode=mode,
        probability=[float(value) for value in steered.mean(0)],
        plain=[float(value) for value in plain.mean(0)],
        of_means=metrics.curve_correlation(turns, steered),
        of_each=metrics.each_correlation(turns, steered),
        plain_of_each=metrics.each_correlation(turns, plain),
    )


def _talk(
    run: Run, answers: Answers, jury: Jury, attribute: str, controls: Controls
) -> NDArray[np.float32]:
    """(conversations, S) probability of the attribute in each reply, conversations side by side."""
    held: list[tuple[str, ...]] = [()] * len(run.talks)
    columns = []
    for turn in range(len(run.talks[0].person)):
        asked = [
            Request((*said, talk.person[turn]), controls, run.seed + place)
            for place, (said, talk) in enumerate(zip(held, run.talks, strict=True))
        ]
        texts = [one.text for one in answers.answer(asked)]
        held = [(*one.turns, text) for one, text in zip(asked, texts, strict=True)]
        columns.append(jury.judge(texts).of(attribute))
    return np.stack(columns, 1)


def _information(held: Judged) -> NDArray[np.float64]:
    """(n,) nats per piece that the context tells about each answer."""
    return np.array([(one.nats_alone - one.nats) / one.pieces for one in held.answers])


def _leakage(
    run: Run, judged: Mapping[Condition, Judged], jury: Jury
) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    labels = [f"{family}:{label}" for family, one in jury.judges.items() for label in one.labels]
    plain = _shares(judged[PLAIN].verdict)
    leaks: dict[str, dict[str, list[float]]] = {}
    for mode in run.modes:
        for name in run.attributes:
            condition = full((name,), mode, run.strengths[-1])
            change = metrics.leakage(_shares(judged[condition].verdict), plain)
            leaks.setdefault(mode, {})[name] = change
    return leaks, labels


def _shares(verdict: Verdict) -> NDArray[np.float64]:
    """(n, labels of all families), 1 for the likeliest label of each family."""
    families = [np.eye(held.shape[1])[held.argmax(1)] for held in verdict.probabilities.values()]
    return np.concatenate(families, 1)


def _curve(run: Run, judged: Mapping[Condition, Judged], name: str, mode: Mode) -> Curve:
    plain = judged[PLAIN]
    held = [plain, *(judged[full((name,), mode, strength)] for strength in run.strengths)]
    strengths = [0.0, *run.strengths]
    measured = np.stack([one.verdict.of(name) for one in held], 1)  # (n, S)
    return Curve(
        attribute=name,
        mode=mode,
        strengths=strengths,
        probability=[float(value) for value in measured.mean(0)],
        success=[float(one.verdict.is_likeliest(name).mean()) for one in held],
        perplexity=[
            metrics.perplexity_ratio(one.nats, one.pieces, plain.nats, plain.pieces).value
            for one in held
        ],
        of_means=metrics.curve_correlation(strengths, measured),
        of_each=metrics.each_correlation(strengths, measured),
    )


def _matched(run: Run, curves: Sequence[Curve], rows: Sequence[Row], name: str) -> Matched:
    """At the price that every mode reaches, and best-of-N at its own price or below."""
    points = {
        curve.mode: list(zip(curve.perplexity, curve.success, strict=True))
        for curve in curves
        if curve.attribute == name
    }
    price = min(MATCHED, *(max(ratio for ratio, _ in held) for held in points.values()))
    success = {mode: metrics.success_at(held, price) for mode, held in points.items()}
    for one in rows:
        if one.condition == ranked((name,)):
            plain = (1.0, one.plain_success.value)
            rival = [plain, (one.perplexity.value, one.success.value)]
            success["best of N"] = metrics.success_at(rival, price)
    return Matched(name, price, success)
