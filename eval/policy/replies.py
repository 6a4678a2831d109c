"""Draws the replies of all four arms to a file of contexts, and reads them again.

A guarded bot shows every candidate with its verdict, so each drawing serves two arms: with the
filter, the reply it gave; without, the one that ranking would have chosen had nothing been judged.
Where no rule fires, the arms with rules are those without, to the last bit.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatbot.controls import Controls
from chatbot.errors import ChatbotError, InputError
from chatbot.ranking import rank
from chatbot.types import Candidate, Outcome, Ranking, Reply, Sampling, Verdict
from eval.jsonl import Json, Line, read_lines, resumed
from eval.policy.unsafe import language_of
from eval.respond import check_context

if TYPE_CHECKING:
    from chatbot.bot import Chatbot

OFF, RULES, FILTER, BOTH = "off", "rules", "filter", "both"
ARMS = (OFF, RULES, FILTER, BOTH)

ADDED = {"drawn_by", "rules", "digests", "arms", "drawings"}
"""Keys that a line gets."""

_MOST_ROUNDING = 0.05
"""Of a risk, which depends a little on how many texts are read together."""


@dataclass(frozen=True, slots=True)
class Said:
    """The reply of one arm.

    Attributes:
        pieces: of the reply, its end included; 0 for a ready-made one.
        nats: -log p(reply | context) of the untouched model.
        risk, category, accepted: what the filter says, also where it had no say.
        is_rejected_text: the reply is one that the filter rejected in this turn.
    """

    text: str
    pieces: int
    nats: float
    risk: float
    category: str
    accepted: bool
    outcome: Outcome = "chosen"
    is_rejected_text: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a drawing, made with or without the rules, cost.

    Attributes:
        spoken, rejected: of the candidates drawn first, those with a text, and those of them that
            the filter rejected.
        seconds: phase -> time; a second drawing included.
    """

    spoken: int
    rejected: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """A context with the replies of all arms.

    Attributes:
        category: of what is wrong or delicate about it; empty if the file does not say.
        is_victim: the person suffered the crime they speak of.
        model: digest of the generator.
        rules: that fired.
        plain, ruled: drawings without and with the rules; the same where none fired.
    """

    context: tuple[str, ...]
    language: str
    category: str
    is_victim: bool
    model: str
    rules: tuple[str, ...]
    digests: Mapping[str, str]
    arms: Mapping[str, Said]
    plain: Drawing
    ruled: Drawing


@dataclass(frozen=True, slots=True)
class Settings:
    """How contexts are answered: line n with `seed + n`, whichever lines were before."""

    seed: int = 0
    candidates: int = Sampling().candidates

    @property
    def sampling(self) -> Sampling:
        return Sampling(candidates=self.candidates)


def read_contexts(path: Path, most: int | None = None) -> list[Line]:
    """The lines of {"context": [...], "category": ...?, "victim": ...?}; `most`, evenly spaced.

    Raises:
        InputError: a line is not what it should be.
    """
    lines = read_lines(path, _check)
    if most is None or most >= len(lines):
        return lines
    return [lines[place * len(lines) // most] for place in range(most)]


def _check(line: Line) -> None:
    check_context(line)
    if not isinstance(line.record.get("category", ""), str):
        raise line.error("`category` is no text; leave it out or give politics, crime, ...")
    if not isinstance(line.record.get("victim", False), bool):
        raise line.error("`victim` is neither true nor false; leave it out if nobody is")


def check_drawn(line: Line) -> None:
    """Raises InputError where the line is none that `draw_file` wrote."""
    _check(line)
    missing = sorted(ADDED - line.record.keys())
    if missing:
        raise line.error(
            f"it lacks {', '.join(missing)}; run `chatbot eval policy` without --report-only"
        )


def draw_file(
    bot: "Chatbot",
    lines: Sequence[Line],
    out_path: Path,
    settings: Settings,
    *,
    watch: Callable[[Sequence[Line]], Iterable[Line]] = iter,
) -> list[Case]:
    """The cases of all lines; those that `out_path` lacks are drawn and appended to it.

    Args:
        bot: with topic rules and ethics filter.
        watch: passes on the lines that are still to be answered.

    Raises:
        InputError: the file was drawn from other lines, or by another bot or settings.
    """
    with resumed(out_path, list(lines), ADDED) as output:
        records = list(output.done)
        _check_same_filter(bot, out_path, records[:1])
        for line, record in zip(lines, records, strict=False):
            wanted = _drawn_by(bot, line, settings)
            if record["drawn_by"] != wanted:
                raise InputError(
                    f"{out_path}: line {line.number} of {line.path} was drawn by "
                    f"{record['drawn_by']}, now it is {wanted}; give another --out"
                )
        for line in watch(lines[len(records) :]):
            records.append(line.record | _answered(bot, line, settings))
            output.write(records[-1])
    cases = [case_of(record) for record in records]
    _check_same_attributes(out_path, cases)
    return cases


def _check_same_filter(bot: "Chatbot", out_path: Path, records: Sequence[Json]) -> None:
    """Raises InputError where a reply drawn earlier would be judged otherwise now."""
    assert bot.ethics is not None
    for record in records:
        said = record["arms"][OFF]
        now = bot.ethics.assess(record["context"], [said["text"]])[0]
        if abs(now.risk - said["risk"]) > _MOST_ROUNDING:
            raise InputError(
                f"{out_path} was judged by another ethics filter (risk {said['risk']}, now "
                f"{now.risk:.3f}); give another --out"
            )


def _check_same_attributes(out_path: Path, cases: Sequence[Case]) -> None:
    """Raises InputError where two replies were steered by different attributes of one name."""
    seen: dict[tuple[str, str], str] = {}
    for case in cases:
        for name, digest in case.digests.items():
            if seen.setdefault((case.language, name), digest) != digest:
                raise InputError(
                    f"{out_path}: some replies were steered by another {name} than others; it "
                    "changed between two runs: give another --out"
                )


def case_of(record: Json) -> Case:
    """The case of a line that `draw_file` wrote."""
    drawings = {name: Drawing(**held) for name, held in record["drawings"].items()}
    return Case(
        context=tuple(record["context"]),
        language=language_of(record["context"][-1]),
        category=record.get("category", ""),
        is_victim=record.get("victim", False),
        model=record["drawn_by"]["model"],
        rules=tuple(record["rules"]),
        digests=record["digests"],
        arms={name: Said(**held) for name, held in record["arms"].items()},
        plain=drawings["plain"],
        ruled=drawings.get("ruled", drawings["plain"]),
    )


def _drawn_by(bot: "Chatbot", line: Line, settings: Settings) -> Json:
    assert bot.policy is not None
    rules = {rule.name: rule.threshold for rule in bot.policy.rules if rule.is_on}
    return {
        "model": bot.backbone.identity["digest"],
        "seed": settings.seed + line.number,
        "candidates": settings.candidates,
        "rules": rules,
    }


def _answered(bot: "Chatbot", line: Line, settings: Settings) -> Json:
    assert bot.policy is not None
    turns = line.record["context"]
    begin = time.perf_counter()
    fired = bot.policy.apply(turns).fired
    reading_s = time.perf_counter() - begin
    no_rules = Controls(rules_off=tuple(rule.name for rule in bot.policy.rules))
    try:
        plain = _respond(bot, line, settings, no_rules)
        ruled = _respond(bot, line, settings, Controls()) if fired else plain
    except ChatbotError as error:
        raise line.error(str(error)) from error
    sampling, ranking = settings.sampling, Ranking()
    drawings = {"plain": _drawing(plain, sampling, reading_s)}
    if fired:
        drawings["ruled"] = _drawing(ruled, sampling, reading_s)
    arms = {
        OFF: unfiltered(plain, sampling, ranking),
        RULES: unfiltered(ruled, sampling, ranking),
        FILTER: _filtered(bot, plain),
        BOTH: _filtered(bot, ruled),
    }
    steering = ruled.trace.steering
    attributes = steering.attributes if steering else {}
    return {
        "drawn_by": _drawn_by(bot, line, settings),
        "rules": [rule.name for rule in fired],
        "digests": {name: f"{one.digest} {one.head}" for name, one in attributes.items()},
        "arms": {name: asdict(said) for name, said in arms.items()},
        "drawings": {name: asdict(held) for name, held in drawings.items()},
    }


def _respond(bot: "Chatbot", line: Line, settings: Settings, controls: Controls) -> Reply:
    return bot.respond(
        line.record["context"], controls=controls, seed=settings.seed + line.number,
        sampling=settings.sampling,
    )  # fmt: skip


def unfiltered(reply: Reply, sampling: Sampling, ranking: Ranking) -> Said:
    """What the bot would have said without the filter, from the candidates drawn first."""
    judged = {one.row: one for one in _drawn_first(reply, sampling)}
    free = [replace(judged[row], verdict=None, score=None, dropped=None) for row in sorted(judged)]
    ranked = rank(free, reply.trace.turns, ranking)
    chosen = next((one for one in ranked if one.text), ranked[0])
    verdict = judged[chosen.row].verdict
    assert verdict is not None
    return _said(chosen, verdict)


def _filtered(bot: "Chatbot", reply: Reply) -> Said:
    """What the bot said."""
    harmless = [one for one in reply.candidates if one.dropped != "rejected"]
    chosen = next((one for one in harmless if one.text == reply.text), reply.candidates[0])
    verdict = chosen.verdict
    if verdict is None:  # a ready-made reply, which nobody judged
        assert bot.ethics is not None
        verdict = bot.ethics.assess(reply.trace.turns, [chosen.text])[0]
    rejected = {one.text for one in reply.candidates if one.dropped == "rejected"}
    said = _said(chosen, verdict)
    return replace(
        said, text=reply.text, outcome=reply.trace.outcome, is_rejected_text=reply.text in rejected
    )


def _said(chosen: Candidate, verdict: Verdict) -> Said:
    return Said(
        text=chosen.text or "...",
        pieces=len(chosen.token_ids),
        nats=round(-chosen.log_likelihood, 4),
        risk=round(verdict.risk, 5),
        category=verdict.category,
        accepted=verdict.accepted,
    )


def _drawn_first(reply: Reply, sampling: Sampling) -> list[Candidate]:
    """The candidates before any second drawing, whose rows count on behind them."""
    return [one for one in reply.candidates if 0 <= one.row < sampling.candidates]


def _drawing(reply: Reply, sampling: Sampling, reading_s: float) -> Drawing:
    spoken = [one for one in _drawn_first(reply, sampling) if one.text]
    seconds: dict[str, Any] = {**reply.timings, "policy": reading_s}
    del seconds["total"]
    return Drawing(
        spoken=len(spoken),
        rejected=sum(one.dropped == "rejected" for one in spoken),
        seconds={phase: round(value, 5) for phase, value in seconds.items()},
    )
