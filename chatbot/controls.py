"""What a person asks of replies beside an answer: attributes, and how strongly in which turn.

Frozen values; knows neither models nor which attributes there are.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chatbot.errors import InputError

DEFAULT_SPREAD = (0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Curve:
    """The strength of one attribute over the turns: straight lines between points.

    Attributes:
        points: (turn, strength), turns growing, the first turn is 1. The first strength holds
            before the first point, the last one behind the last.
        half_life: turns in which the strength halves behind the last point; None if it holds.
    """

    points: tuple[tuple[int, float], ...]
    half_life: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((turn, value) for turn, value in self.points))
        turns = [turn for turn, _ in self.points]
        whole = all(isinstance(turn, int) for turn in turns)
        if not turns or not whole or turns != sorted(set(turns)) or turns[0] < 1:
            raise InputError(
                f"the turns of a curve are {turns}; give whole numbers in order, from 1 on"
            )
        for turn, strength in self.points:
            _check_strength(f"turn {turn}", strength)
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise InputError(f"half_life is {self.half_life}; give a number of turns above 0")

    def at(self, turn: int) -> float:
        """Strength in a turn, counted from 1."""
        after = bisect_right(self.points, turn, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        begin, strength = self.points[after - 1]
        if after < len(self.points):
            end, there = self.points[after]
            return strength + (there - strength) * (turn - begin) / (end - begin)
        return strength * 0.5 ** ((turn - begin) / self.half_life) if self.half_life else strength


@dataclass(frozen=True, slots=True)
class Schedule:
    """Strengths that change from turn to turn; schedules of several attributes join with `|`.

    >>> (Schedule.ramp("anger", 0, 1, turns=5) | Schedule.constant("game", 0.3)).strengths(3)
    {'anger': 0.5, 'game': 0.3}
    """

    curves: Mapping[str, Curve]

    def __post_init__(self) -> None:
        object.__setattr__(self, "curves", dict(self.curves))

    @classmethod
    def constant(cls, attribute: str, strength: float) -> "Schedule":
        """The same in every turn."""
        return cls({attribute: Curve(((1, strength),))})

    @classmethod
    def ramp(cls, attribute: str, start: float, end: float, *, turns: int) -> "Schedule":
        """From `start` in turn 1 to `end` in turn `turns`, which then holds."""
        if turns < 2:
            raise InputError(f"turns is {turns}; a ramp needs at least 2")
        return cls({attribute: Curve(((1, start), (turns, end)))})

    @classmethod
    def decay(cls, attribute: str, start: float, *, half_life: float) -> "Schedule":
        """From `start` in turn 1, half as much every `half_life` turns."""
        return cls({attribute: Curve(((1, start),), half_life)})

    @classmethod
    def hold(cls, attribute: str, strength: float, *, turns: int) -> "Schedule":
        """The same for some turns, then nothing."""
        if turns < 1:
            raise InputError(f"turns is {turns}; hold a strength for at least 1")
        first = ((1, strength),) if turns > 1 else ()
        return cls({attribute: Curve((*first, (turns, strength), (turns + 1, 0.0)))})

    @classmethod
    def piecewise(cls, attribute: str, points: Iterable[tuple[int, float]]) -> "Schedule":
        """Straight lines between (turn, strength) points."""
        return cls({attribute: Curve(tuple(points))})

    def __or__(self, other: "Schedule") -> "Schedule":
        both = sorted(self.curves.keys() & other.curves.keys())
        if both:
            raise InputError(
                f"both schedules have {', '.join(both)}; give each attribute one curve"
            )
        return Schedule({**self.curves, **other.curves})

    def strengths(self, turn: int) -> dict[str, float]:
        """Of every attribute, in a turn of the bot, counted from 1."""
        return {attribute: curve.at(turn) for attribute, curve in self.curves.items()}

    def to_json(self) -> str:
        """The schedule as text, for `from_json`."""
        return json.dumps(
            {
                name: {"points": curve.points, "half_life": curve.half_life}
                for name, curve in self.curves.items()
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        """The schedule of `to_json`, or one written by hand in the same form.

        Raises:
            InputError: the text is no schedule.
        """
        try:
            curves = {name: _curve(**given) for name, given in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"this is no schedule ({error}); expected "
                '{"NAME": {"points": [[TURN, STRENGTH], ...], "half_life": TURNS or null}, ...}'
            ) from error
        return cls(curves)


def _curve(*, points: Sequence[Sequence[Any]], half_life: float | None = None) -> Curve:
    return Curve(tuple((turn, strength) for turn, strength in points), half_life)


@dataclass(frozen=True, slots=True)
class Controls:
    """How strongly each attribute is asked for.

    Strength 0 means untouched, 1 the full effect, which is about as strong for every attribute,
    negative less of it than the model says by itself. Unknown names are refused when the turn
    starts.

    Attributes:
        strengths: attribute -> strength, the same in every turn.
        schedule: strengths that change from turn to turn, of other attributes.
        spread: the candidates take these shares of the strengths by turns; the ranking then has
            weaker and stronger ones to choose from.
        kl_limit: no piece is steered further from what the model would say than this, in nats.
        fusion: weight of the steered distribution in its geometric mean with the clean one.
    """

    strengths: Mapping[str, float] = field(default_factory=dict)
    schedule: Schedule | None = None
    spread: tuple[float, ...] = DEFAULT_SPREAD
    kl_limit: float = 2.0
    fusion: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strengths", dict(self.strengths))
        object.__setattr__(self, "spread", tuple(self.spread))
        for name, strength in self.strengths.items():
            _check_strength(name, strength)
        both = sorted(self.strengths.keys() & (self.schedule.curves if self.schedule else {}))
        if both:
            raise InputError(f"{', '.join(both)} has a strength and a schedule; give one of them")
        if not self.spread or not all(0 <= share <= 2 for share in self.spread):
            raise InputError(f"spread is {self.spread}; give one or more shares from 0 to 2")
        if not 0 < self.kl_limit <= 100:
            raise InputError(f"kl_limit is {self.kl_limit}; give nats above 0, at most 100")
        if not 0 <= self.fusion <= 1:
            raise InputError(f"fusion is {self.fusion}; give a number from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> "Controls":
        """Controls as typed on a command line.

        >>> Controls.parse("joy=.5, game=.3").strengths
        {'joy': 0.5, 'game': 0.3}

        Raises:
            InputError: it cannot be read; the message shows the form.
        """
        strengths: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, strength = (side.strip() for side in part.partition("="))
            try:
                value = float(strength)
            except ValueError:
                name = ""
            if not name or name in strengths:
                raise InputError(f"cannot read the control {part!r}; write joy=.5,game=.3")
            strengths[name] = value
        return cls(strengths)

    def at(self, turn: int) -> dict[str, float]:
        """The strengths in a turn of the bot, counted from 1."""
        return {**self.strengths, **(self.schedule.strengths(turn) if self.schedule else {})}


ControlsLike: TypeAlias = Controls | Mapping[str, float] | None
"""Controls, or only their strengths, or nothing."""


def as_controls(given: ControlsLike) -> Controls:
    """The controls meant by what a caller gave."""
    if isinstance(given, Controls):
        return given
    if given is None:
        return Controls()
    if isinstance(given, Mapping):
        return Controls(given)
    raise InputError(
        f"the controls are {type(given).__name__}; give Controls(...) or a dictionary of strengths"
    )


def _check_strength(name: str, strength: object) -> None:
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise InputError(f"the strength of {name} is {strength!r}; give a number from -1 to 1")
    if not -1 <= strength <= 1:  # also refuses NaN
        raise InputError(f"the strength of {name} is {strength}; give a number from -1 to 1")
