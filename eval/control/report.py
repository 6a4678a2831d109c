"""Tells the tables as Markdown, as JSON, and in a few lines for the terminal.

Knows which aims the project has set itself; knows nothing of how a number came about.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.control.metrics import RESAMPLES, Estimate
from eval.control.plan import HIDDEN, Condition, Run
from eval.control.tables import Curve, Graded, Matched, Row, Tables
from eval.judges import Jury, family_of

LEAST_SUCCESS = {"emotion": 0.90, "sentiment": 0.90, "topic": 0.80}
MOST_PERPLEXITY = 1.25
LEAST_IN_A_MIX = 0.60
LEAST_CORRELATION = 0.95
MOST_BEHIND = 0.05
"""Of the default mode behind `pplm`, where both cost the same perplexity."""


@dataclass(frozen=True, slots=True)
class Aim:
    """One thing that was aimed at, with what was measured."""

    what: str
    wanted: str
    found: str
    is_met: bool


def aims(run: Run, tables: Tables, jury: Jury) -> list[Aim]:
    """Every aim that the run has numbers for."""
    told = [*_of_rows(run, tables.rows, jury)]
    for one in tables.graded:
        found = one.of_means
        told.append(
            Aim(
                f"graded {one.attribute}, {one.mode}: turn and mean probability",
                f">= {LEAST_CORRELATION}", _number(found), found.value >= LEAST_CORRELATION,
            )
        )  # fmt: skip
    for held in tables.matched:
        hidden, pplm = held.success.get(HIDDEN), held.success.get("pplm")
        if hidden is not None and pplm is not None:
            told.append(
                Aim(
                    f"{held.attribute}, hidden against pplm at perplexity x{held.perplexity:.2f}",
                    f">= {_share(pplm - MOST_BEHIND)}", _share(hidden),
                    hidden >= pplm - MOST_BEHIND,
                )
            )  # fmt: skip
    return told


def _of_rows(run: Run, rows: Sequence[Row], jury: Jury) -> Iterator[Aim]:
    for one in rows:
        condition = one.condition
        if condition.kind != "steered" or any(s != 1 for _, s in condition.strengths):
            continue
        is_mix = len(condition.strengths) > 1
        least = LEAST_IN_A_MIX if is_mix else LEAST_SUCCESS[family_of(one.attribute, jury.judges)]
        most = math.inf if is_mix else MOST_PERPLEXITY
        price = "" if is_mix else f" at perplexity <= {most}"
        yield Aim(
            f"{one.attribute} ({_named(condition)})",
            f"success >= {_share(least)}{price}",
            f"{_shares(one.success)}, perplexity {_number(one.perplexity)}",
            one.success.value >= least and one.perplexity.value <= most,
        )


def as_json(run: Run, tables: Tables, jury: Jury) -> dict[str, Any]:
    """All numbers, for machines."""
    return {
        "run": run.model_dump(mode="json", exclude={"contexts", "talks"}),
        "contexts": len(run.contexts),
        "talks": len(run.talks),
        "attributes": dict(sorted(tables.digests.items())),
        "judges": {family: _judge_told(judge.card) for family, judge in jury.judges.items()},
        "aims": [
            {"what": one.what, "wanted": one.wanted, "found": one.found, "met": one.is_met}
            for one in aims(run, tables, jury)
        ],
        "rows": [_row_json(one) for one in tables.rows],
        "leakage": {"labels": list(tables.labels), "points": tables.leakage},
        "curves": [_curve_json(one) for one in tables.curves],
        "graded": [_graded_json(one) for one in tables.graded],
        "matched": [
            {"attribute": one.attribute, "perplexity": one.perplexity, "success": one.success}
            for one in tables.matched
        ],
    }


def as_markdown(run: Run, tables: Tables, jury: Jury, pictures: Sequence[str] = ()) -> str:
    """The report that people read."""
    parts = [
        _head(run, tables),
        _aims_part(aims(run, tables, jury)),
        _success_part(tables),
        _curves_part(tables.curves),
        _graded_part(run, tables.graded),
        _matched_part(tables.matched),
        _leakage_part(tables, jury),
        _judges_part(jury),
        "\n".join(f"![{name}]({name})" for name in pictures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(run: Run, tables: Tables) -> str:
    """A short table for the terminal: full strength and the rival."""
    lines = [f"{'attribute':10} {'asked':28} {'success':>22} {'unsteered':>10} {'perplexity':>20}"]
    for one in tables.rows:
        if all(strength == run.strengths[-1] for _, strength in one.condition.strengths) or (
            one.condition.kind == "ranked"
        ):
            lines.append(
                f"{one.attribute:10} {_named(one.condition):28} {_shares(one.success):>22} "
                f"{_share(one.plain_success.value):>10} {_number(one.perplexity, 'x'):>20}"
            )
    lines += [
        f"{one.attribute:10} {'graded over 6 turns, ' + one.mode:28} rank correlation of means "
        f"{_number(one.of_means)}, of each {_number(one.of_each)}"
        for one in tables.graded
    ]
    return "\n".join(lines)


# -- parts


def _head(run: Run, tables: Tables) -> str:
    model = run.model
    return "\n".join(
        [
            "# Does control work, and what does it cost?",
            "",
            f"Generator {model['name']} (digest `{model['digest'][:12]}`), "
            f"n = {len(run.contexts)} contexts, {run.candidates} candidates a reply, seed "
            f"{run.seed} + place of the context. The same contexts with the same seeds are "
            "answered steered and unsteered, without topic rules and ethics filter.",
            "",
            "**Success** is the share of replies in which a judge that took no part in steering "
            "holds what was asked for likelier than every label of its family that was not: of "
            "joy and surprise asked together neither counts against the other. **Passes** is the "
            "share whose probability, alone, exceeds the judge's threshold, as that of 5 % of its "
            "neutral valid texts does. "
            "**Perplexity** is that of the chosen replies under the untouched model, as a ratio "
            "to the unsteered replies. **Cosine** (reply and last turn) and **information** (log "
            "p(reply after context) - log p(reply), nats per piece) are changes against the "
            "unsteered reply. *best of N* ranks unsteered candidates by what they show.",
            "",
            f"In brackets: 95 % intervals by {RESAMPLES} bootstrap resamples of contexts, "
            "seed 0. Distinct-n has none: resampling repeats texts and draws it down.",
        ]
    )


def _aims_part(told: Sequence[Aim]) -> str:
    rows = [[one.what, one.wanted, one.found, "met" if one.is_met else "**missed**"]
            for one in told]  # fmt: skip
    return _part("Aims", _table(["", "aim", "measured", ""], rows)) if rows else ""


def _success_part(tables: Tables) -> str:
    head = ["attribute", "asked", "success", "unsteered", "passes", "unsteered", "perplexity",
            "cosine", "information", "pieces", "distinct-1", "distinct-2"]  # fmt: skip
    rows = [
        [
            one.attribute, _named(one.condition), _shares(one.success),
            _share(one.plain_success.value), _shares(one.passes), _share(one.plain_passes.value),
            _number(one.perplexity, "x"), _number(one.cosine), _number(one.information),
            f"{one.pieces:.1f}", f"{one.distinct_1:.3f}", f"{one.distinct_2:.3f}",
        ]
        for one in tables.rows
    ]  # fmt: skip
    plain = tables.plain
    rows.append(["-", "nothing", "", "", "", "", "x1", "", "", f"{plain.pieces:.1f}",
                 f"{plain.distinct_1:.3f}", f"{plain.distinct_2:.3f}"])  # fmt: skip
    return _part(f"Success and cost, n = {plain.success.n} each", _table(head, rows))


def _curves_part(curves: Sequence[Curve]) -> str:
    if not curves or len(curves[0].strengths) < 3:
        return ""
    strengths = [f"{strength:g}" for strength in curves[0].strengths]
    rows = [
        [
            one.attribute, one.mode, *(f"{value:.3f}" for value in one.probability),
            _number(one.of_means), _number(one.of_each),
        ]
        for one in curves
    ]  # fmt: skip
    head = ["attribute", "mode", *strengths, "rank corr. of means", "mean of each context's"]
    return _part("Strength curves: mean judged probability", _table(head, rows))


def _graded_part(run: Run, held: Sequence[Graded]) -> str:
    rows = []
    for one in held:
        for name, values in (("0 to 1", one.probability), ("not asked", one.plain)):
            is_asked = values is one.probability
            found = [_number(one.of_means) if is_asked else "",
                     _number(one.of_each if is_asked else one.plain_of_each)]  # fmt: skip
            shown = (f"{value:.3f}" for value in values)
            rows.append([one.attribute, one.mode, name, *shown, *found])
    if not rows:
        return ""
    turns = [f"turn {turn}" for turn in range(1, len(held[0].probability) + 1)]
    head = ["attribute", "mode", "asked", *turns, "rank corr. of means",
            "mean of each conversation's"]  # fmt: skip
    title = f"Graded over the turns of {len(run.talks)} conversations: mean judged probability"
    return _part(title, _table(head, rows))


def _matched_part(held: Sequence[Matched]) -> str:
    names = list(dict.fromkeys(name for one in held for name in one.success))
    if len(names) < 2:
        return ""
    rows = [
        [one.attribute, f"x{one.perplexity:.2f}",
         *("-" if (value := one.success.get(name)) is None else _share(value) for name in names)]
        for one in held
    ]  # fmt: skip
    return _part(
        "Success at matched perplexity, by straight lines along the strength curves",
        _table(["attribute", "perplexity", *names], rows),
    )


def _leakage_part(tables: Tables, jury: Jury) -> str:
    parts = []
    for mode, asked in tables.leakage.items():
        rows = [
            [name, *(_points(value, label, name) for label, value in zip(
                tables.labels, values, strict=True))]
            for name, values in asked.items()
        ]  # fmt: skip
        head = ["asked", *(label.partition(":")[2] for label in tables.labels)]
        parts.append(_table(head, rows, caption=f"Mode {mode}"))
    families = ", ".join(f"{len(judge.labels)} {name}s" for name, judge in jury.judges.items())
    return _part(
        f"Leakage: change of the share of each label in points ({families})", "\n\n".join(parts)
    )


def _judges_part(jury: Jury) -> str:
    rows = []
    for family, judge in jury.judges.items():
        for source, told in judge.card.get("valid_by_source", {}).items():
            recall = ", ".join(f"{label} {value:.2f}" for label, value in told["recall"].items())
            rows.append([family, source, str(told["n"]), f"{told['macro_f1']:.3f}", recall,
                         f"{told['calibration_error']:.3f}"])  # fmt: skip
    note = (
        "A judge that misses a third of the joyful texts that people wrote cannot be expected to "
        "find joy in more than two thirds of replies: read success beside its recall."
    )
    head = ["judge", "valid texts", "n", "macro-F1", "recall", "calibration error"]
    return _part("How good the judges are", note + "\n\n" + _table(head, rows)) if rows else ""


# -- forms


def _part(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "") -> str:
    lines = [head, ["---"] * len(head), *rows]
    told = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{caption}\n\n{told}" if caption else told


def _named(condition: Condition) -> str:
    asked = " + ".join(f"{name} {strength:g}" for name, strength in condition.strengths)
    return asked + (", best of N" if condition.kind == "ranked" else f", {condition.mode}")


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def _shares(one: Estimate) -> str:
    return f"{_share(one.value)} [{100 * one.low:.0f}, {100 * one.high:.0f}]"


def _number(one: Estimate, sign: str = "") -> str:
    return f"{sign}{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"


def _points(value: float, label: str, asked: str) -> str:
    told = f"{value:+.0f}"
    return f"**{told}**" if label.partition(":")[2] == asked else told


# -- JSON


def _judge_told(card: Mapping[str, Any]) -> dict[str, Any]:
    return {name: card[name] for name in ("valid", "valid_by_source") if name in card}


def _row_json(one: Row) -> dict[str, Any]:
    estimates = ("success", "plain_success", "passes", "plain_passes", "probability",
                 "perplexity", "cosine", "information")  # fmt: skip
    return {
        "attribute": one.attribute,
        "kind": one.condition.kind,
        "mode": one.condition.mode,
        "strengths": dict(one.condition.strengths),
        **{name: getattr(one, name).to_json() for name in estimates},
        **{name: getattr(one, name) for name in ("pieces", "distinct_1", "distinct_2")},
    }


def _curve_json(one: Curve) -> dict[str, Any]:
    series = ("attribute", "mode", "strengths", "probability", "success", "perplexity")
    return {
        **{name: getattr(one, name) for name in series},
        "of_means": one.of_means.to_json(),
        "of_each": one.of_each.to_json(),
    }


def _graded_json(one: Graded) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("attribute", "mode", "probability", "plain")},
        **{name: getattr(one, name).to_json() for name in ("of_means", "of_each",
                                                            "plain_of_each")},
    }  # fmt: skip
