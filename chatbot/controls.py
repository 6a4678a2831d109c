"""What a person asks of replies beside an answer: attributes, and how strongly in which turn.

Frozen values; knows neither models nor which attributes there are.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast, get_args

from chatbot.errors import InputError

DEFAULT_SPREAD = (0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Curve:
    """The strength of one attribute over the turns: straight lines between points.

    Attributes:
        points: (turn, strength), turns growing, the first turn is 1. The first strength holds
            before the first point, the last one behind the last.
        half_life: turns in which the strength halves behind the last point; None if it holds.
        trigger: words; the curve begins anew, with turn 1, whenever the person says one of them,
            and is 0 before. None begins with the conversation.
    """

    points: tuple[tuple[int, float], ...]
    half_life: float | None = None
    trigger: tuple[str, ...] | None = None

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
        if self.trigger is not None:
            object.__setattr__(self, "trigger", tuple(self.trigger))
            if not self.trigger or not all(isinstance(w, str) and w.strip() for w in self.trigger):
                raise InputError(f"trigger is {self.trigger}; give one or more words, or None")
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise InputError(f"half_life is {self.half_life}; give a number of turns above 0")

    def at(self, turn: int, said: Sequence[str] = ()) -> float:
        """Strength in a turn, counted from 1.

        Args:
            said: what the person said in turn 1, 2, ...; read by a curve with a trigger only.
        """
        if self.trigger is not None:
            calls = [n for n, text in enumerate(said[:turn], start=1) if self._calls(text)]
            if not calls:
                return 0.0
            turn = turn - calls[-1] + 1
        after = bisect_right(self.points, turn, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        begin, strength = self.points[after - 1]
        if after < len(self.points):
            end, there = self.points[after]
            return strength + (there - strength) * (turn - begin) / (end - begin)
        return strength * 0.5 ** ((turn - begin) / self.half_life) if self.half_life else strength

    def _calls(self, text: str) -> bool:
        """Whether a text has one of the trigger words, whole; Korean ones with any ending."""
        words = "|".join(re.escape(word.strip()) for word in self.trigger or ())
        return (
            re.search(rf"(?<!\w)(?:{words})(?:(?!\w)|(?=[\uac00-\ud7a3]))", text, re.I) is not None
        )


INSULTS = (
    "stupid", "idiot", "dumb", "moron", "useless", "worthless", "shut up", "i hate you", "loser",
    "pathetic", "you suck", "fool", "liar", "disgusting",
    "바보", "멍청", "닥쳐", "쓸모없", "한심", "꺼져", "거짓말쟁이", "재수없",
)  # fmt: skip
"""Words that insult whoever is spoken to; a trigger for `Schedule.triggered`."""


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

    @classmethod
    def triggered(
        cls,
        attribute: str,
        strength: float,
        *,
        on: Sequence[str] = INSULTS,
        half_life: float | None = 2.0,
    ) -> "Schedule":
        """Nothing until the person says one of some words, such as an insult; then it fades."""
        return cls({attribute: Curve(((1, strength),), half_life, tuple(on))})

    def __or__(self, other: "Schedule") -> "Schedule":
        both = sorted(self.curves.keys() & other.curves.keys())
        if both:
            raise InputError(
                f"both schedules have {', '.join(both)}; give each attribute one curve"
            )
        return Schedule({**self.curves, **other.curves})

    def strengths(self, turn: int, said: Sequence[str] = ()) -> dict[str, float]:
        """Of every attribute, in a turn of the bot, counted from 1.

        Args:
            said: what the person said so far; needed by triggers only.
        """
        return {attribute: curve.at(turn, said) for attribute, curve in self.curves.items()}

    def to_json(self) -> str:
        """The schedule as text, for `from_json`."""
        return json.dumps(
            {
                name: {
                    "points": curve.points,
                    "half_life": curve.half_life,
                    "trigger": curve.trigger,
                }
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
                '{"NAME": {"points": [[TURN, STRENGTH], ...], "half_life": TURNS or null, '
                '"trigger": ["WORD", ...] or null}, ...}'
            ) from error
        return cls(curves)


def _curve(
    *,
    points: Sequence[Sequence[Any]],
    half_life: float | None = None,
    trigger: Sequence[str] | None = None,
) -> Curve:
    return Curve(
        tuple((turn, strength) for turn, strength in points),
        half_life,
        None if trigger is None else tuple(trigger),
    )


Mode: TypeAlias = Literal["hidden", "layers", "pplm"]


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """How the modes that follow gradients move the decoder.

    Attributes:
        step_size: length of a step for strength 1; for `layers`, as a share of the length of the
            state that is moved.
        iterations: steps for each piece.
        gamma: a group's gradient is divided by its norm to this power: 1 gives every group steps
            of `step_size`, 0 steps of the gradient's own length.
        kl_scale: weight of the divergence from the clean distribution beside the log-likelihood of
            the attributes.
        window: newest positions of the past that are moved; 0 for all. For `pplm`.
        decay: each older position is moved by this share of what the next one is. For `pplm`.
        horizon: soft pieces that scorers other than bags of words look ahead; each costs a step of
            the decoder at every iteration.
        blocks: last blocks that are moved through. For `layers`.
        gate: a piece is left alone where its attributes are at least this probable by themselves;
            1 never leaves one alone.
    """

    step_size: float
    iterations: int
    gamma: float = 1.0
    kl_scale: float = 0.01
    window: int = 5
    decay: float = 1.0
    horizon: int = 0
    blocks: int = 1
    gate: float = 1.0

    def __post_init__(self) -> None:
        for name, least, most in _GRADIENT_RANGES:
            value = getattr(self, name)
            whole = isinstance(least, int)
            is_number = isinstance(value, int if whole else int | float)
            if isinstance(value, bool) or not is_number or not least <= value <= most:
                kind = "a whole number" if whole else "a number"
                raise InputError(f"{name} is {value!r}; give {kind} from {least:g} to {most:g}")


_GRADIENT_RANGES: tuple[tuple[str, float, float], ...] = (
    ("step_size", 0.0, 100.0),
    ("iterations", 1, 100),
    ("gamma", 0.0, 2.0),
    ("kl_scale", 0.0, 100.0),
    ("window", 0, 1000),
    ("decay", 0.0, 1.0),
    ("horizon", 0, 8),
    ("blocks", 1, 100),
    ("gate", 0.0, 1.0),
)

GRADIENTS: Mapping[str, GradientSettings] = {
    "layers": GradientSettings(step_size=0.2, iterations=1),
    "pplm": GradientSettings(step_size=1.2, iterations=3),
}
"""What the modes do unless they are told otherwise.

Measured with the shipped generator and the list of joy at strength 1: 12 contexts of 6 candidates,
which take 1/2, 1 and 3/2 of the strength by turns, each pulled until it has its first word; share
of candidates with a word of the list, and their perplexity as a multiple of unsteered ones:

    none                 26 %  1.00     `pplm`, step 0.7     49 %  2.14
    `layers`, step 0.1   51 %  1.61     `pplm`, step 1.2     75 %  2.11
    `layers`, step 0.2   65 %  3.47     `hidden`             83 %  1.07

Games, which nobody mentions unasked: `layers` 0.15 and 0.25 bring 12 and 38 % at 3.7 and 7.6,
`pplm` 1.0 and 1.6 28 and 47 % at 4.7 and 6.5, `hidden` 64 % at 1.4. A second iteration of `layers`
only lengthens the step. In single steps, windows of 5 and of all positions, and gamma 1 and 1.5,
gain as much log-likelihood for their divergence.
"""


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
        mode: how replies are steered: `hidden` tilts the distribution of the next piece by closed
            forms; `layers` and `pplm` follow gradients, through the last blocks of the decoder or
            through all it remembers, and cost more.
        gradient: how these two move; None for `GRADIENTS` of the mode.
        feedback: share of the last reply's error, measured strength against asked, by which the
            strength of this turn is corrected; for attributes with a learned head. 0: not at all.
        rules_off: names of topic rules (`chatbot.policy`) that shall not act.
    """

    strengths: Mapping[str, float] = field(default_factory=dict)
    schedule: Schedule | None = None
    spread: tuple[float, ...] = DEFAULT_SPREAD
    kl_limit: float = 4.0
    fusion: float = 1.0
    mode: Mode = "hidden"
    gradient: GradientSettings | None = None
    feedback: float = 0.0
    rules_off: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules_off", tuple(self.rules_off))
        if not 0 <= self.feedback <= 2:
            raise InputError(f"feedback is {self.feedback}; give a number from 0 to 2")
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
        if self.mode not in get_args(Mode):
            raise InputError(f"mode is {self.mode!r}; give {', '.join(get_args(Mode))}")
        if self.mode == "hidden" and self.gradient is not None:
            raise InputError("the mode hidden follows no gradient; leave it out, or give a mode")

    @classmethod
    def parse(cls, text: str) -> "Controls":
        """Controls as typed on a command line; `mode` stands among the attributes.

        >>> Controls.parse("joy=.5, game=.3, mode=layers").strengths
        {'joy': 0.5, 'game': 0.3}

        Raises:
            InputError: it cannot be read; the message shows the form.
        """
        strengths: dict[str, float] = {}
        mode = "hidden"
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, strength = (side.strip() for side in part.partition("="))
            if name == "mode":
                mode = strength
                continue
            try:
                value = float(strength)
            except ValueError:
                name = ""
            if not name or name in strengths:
                raise InputError(f"cannot read the control {part!r}; write joy=.5,game=.3")
            strengths[name] = value
        return cls(strengths, mode=cast(Mode, mode))  # checked there

    @property
    def gradient_settings(self) -> GradientSettings | None:
        """How the mode follows gradients; None for `hidden`, which follows none."""
        return self.gradient or GRADIENTS.get(self.mode)

    def at(self, turn: int, said: Sequence[str] = ()) -> dict[str, float]:
        """The strengths in a turn of the bot, counted from 1.

        Args:
            said: what the person said so far, oldest first; needed by triggers only.
        """
        changing = self.schedule.strengths(turn, said) if self.schedule else {}
        return {**self.strengths, **changing}


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
