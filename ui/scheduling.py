"""Schedules as the panel makes and shows them: kinds of curves, their place in a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatbot.controls import INSULTS, Schedule
from chatbot.errors import InputError
from chatbot.store import StoredMessage
from ui.panel import MOODS, Panel, read_schedule, topics
from ui.turns import as_turns

KINDS = ("ramp", "decay", "hold", "constant", "insult")

Spoken = tuple[int, list[str]]
"""Number of the bot's next turn, from 1, and what the person said so far."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the form of the panel asks for.

    Attributes:
        start, end: strengths; `end` is of a ramp alone.
        turns: in which a ramp rises, a strength is held, or halves.
    """

    attribute: str
    kind: str
    start: float
    end: float
    turns: float


def spoken(thread: Sequence[StoredMessage]) -> Spoken:
    """Where a conversation stands."""
    turns = as_turns(thread)
    if thread and thread[-1].role == "bot":
        turns = turns[:-1]
        return (len(turns) + 1) // 2 + 1, turns[::-2][::-1]
    return max(1, (len(turns) + 1) // 2), turns[::-2][::-1]


def scheduled(panel: Panel, plan: Plan) -> str:
    """The panel's schedule with one curve more, or in the place of its namesake, as JSON.

    Raises:
        InputError: a value is out of its range.
    """
    if plan.attribute not in (*MOODS, *topics()):
        raise InputError(f"no attribute {plan.attribute!r:.50}; choose one")
    others = {n: c for n, c in read_schedule(panel).curves.items() if n != plan.attribute}
    return Schedule({**others, **_curve(plan).curves}).to_json()


def unscheduled(panel: Panel, attribute: str) -> str:
    """The panel's schedule without an attribute, as JSON; empty where none is left."""
    curves = {n: c for n, c in read_schedule(panel).curves.items() if n != attribute}
    return Schedule(curves).to_json() if curves else ""


def _curve(plan: Plan) -> Schedule:
    name, turns = plan.attribute, _number("turns", plan.turns)
    start, end = _number("start", plan.start), _number("end", plan.end)
    match plan.kind:
        case "ramp":
            return Schedule.ramp(name, start, end, turns=int(turns))
        case "decay":
            return Schedule.decay(name, start, half_life=turns)
        case "hold":
            return Schedule.hold(name, start, turns=int(turns))
        case "constant":
            return Schedule.constant(name, start)
        case "insult":
            return Schedule.triggered(name, start, on=INSULTS, half_life=turns)
    raise InputError(f"no kind of curve {plan.kind!r:.50}; there are {', '.join(KINDS)}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} is {value!r:.50}; give a number")
    return value
