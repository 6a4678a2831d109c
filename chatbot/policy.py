"""Rules about sensitive topics: what the bot is asked to be when a person speaks of one.

A rule names a topic, from what probability on it fires, and how it changes the controls. Rules
are data (`rules/policy.json`); how a topic is found is `chatbot.topics`, how a control acts is
`chatbot.steering`. Nobody is refused an answer: the reply is steered.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatbot.controls import Controls, ControlsLike, Schedule, as_controls
from chatbot.errors import InputError

if TYPE_CHECKING:
    from chatbot.reactions import ReactionReader
    from chatbot.topics import TopicDetector, Topics

SHIPPED = Path(__file__).with_name("rules") / "policy.json"

REACTIONS = ("disapproves", "approves", "sympathises", "takes_side", "evades")
"""What a reply can do with what was said; `chatbot.reactions` reads it.

To evade is to say what would do anywhere: "What do you mean?", "I don't know."
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule does to the controls.

    Attributes:
        set: attribute -> strength, in place of what was asked.
        aside: attributes that are not asked for while the rule holds.
        prefer: reaction of `chatbot.reactions` -> how much it is wanted of a reply, -1 to 1; the
            ranking prefers candidates that react so.
    """

    set: Mapping[str, float] = field(default_factory=dict)
    aside: tuple[str, ...] = ()
    prefer: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: of the rule, once in a policy.
        detector: a topic, or `crime_deed` or `crime_victim` for one side of crime.
        threshold: probability from which on it fires, above 0 and at most 1.
        reason: why, by language; `en` is always there.
    """

    name: str
    detector: str
    threshold: float
    change: Change
    reason: Mapping[str, str]
    is_on: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError(
                f"the threshold of the rule {self.name} is {self.threshold}; give a probability "
                "above 0, at most 1"
            )
        if not self.reason.get("en"):
            raise InputError(f'the rule {self.name} has no reason; give {{"en": "..."}}')
        Controls(self.change.set)  # refuses strengths out of range
        _check_reactions(self.name, self.change.prefer)
        both = sorted(self.change.set.keys() & set(self.change.aside))
        if both:
            raise InputError(
                f"the rule {self.name} sets {', '.join(both)} and puts it aside; do one of them"
            )


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that fired, for the trace.

    Attributes:
        reason: in the language of the message.
    """

    name: str
    detector: str
    probability: float
    threshold: float
    change: Change
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy makes of a turn.

    Attributes:
        controls: to answer with.
        fired: the rules that fired, the surest first.
        topics: what the turn is about.
        notes: what the person asked for and does not get, in words.
    """

    controls: Controls
    fired: tuple[Fired, ...]
    topics: "Topics"
    notes: tuple[str, ...] = ()


class Policy:
    """Rules with the detector that they ask; safe to share by threads, never changed.

    Attributes:
        reactions: reads how replies react; None leaves out what rules prefer.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        detector: "TopicDetector",
        reactions: "ReactionReader | None" = None,
    ):
        self.rules = tuple(rules)
        self.detector = detector
        self.reactions = reactions
        _check_names(self.rules)
        for rule in self.rules:
            if rule.detector not in detector.detectors:
                raise InputError(
                    f"the rule {rule.name} asks for the topic {rule.detector!r}; the detector "
                    f"knows {', '.join(detector.detectors)}"
                )

    @classmethod
    def shipped(
        cls,
        detector: "TopicDetector | None" = None,
        reactions: "ReactionReader | None" = None,
    ) -> "Policy":
        """The rules that come with the bot."""
        return cls.load(SHIPPED, detector, reactions)

    @classmethod
    def load(
        cls,
        file: str | Path,
        detector: "TopicDetector | None" = None,
        reactions: "ReactionReader | None" = None,
    ) -> "Policy":
        """The rules of a file in the form of `rules/policy.json`.

        Args:
            detector: None loads the shipped one.
            reactions: what the rules prefer is read with; None leaves it out.

        Raises:
            InputError: the file is no policy; the message names the place.
            ModelError: the detector cannot be loaded.
        """
        from chatbot.topics import TopicDetector

        return cls(read_rules(file), detector or TopicDetector.load(), reactions)

    def with_rule(self, rule: Rule) -> "Policy":
        """The policy with one more rule, or with `rule` in place of its namesake."""
        others = [one for one in self.rules if one.name != rule.name]
        return Policy([*others, rule], self.detector, self.reactions)

    def without(self, name: str) -> "Policy":
        """The policy with a rule switched off.

        Raises:
            InputError: there is no such rule.
        """
        if name not in {rule.name for rule in self.rules}:
            known = ", ".join(rule.name for rule in self.rules) or "none"
            raise InputError(f"no rule named {name!r}; there are {known}")
        return Policy(
            [replace(one, is_on=False) if one.name == name else one for one in self.rules],
            self.detector,
            self.reactions,
        )

    def attributes(self) -> set[str]:
        """Names that the rules ask the bot for; it has to know them."""
        return {name for rule in self.rules if rule.is_on for name in rule.change.set}

    def apply(self, turns: Sequence[str], controls: ControlsLike = None) -> Decision:
        """The controls for the answer to a conversation.

        Args:
            turns: oldest first; the last is the person's.
            controls: what the person asked for.
        """
        return self.apply_many([turns], [controls])[0]

    def apply_many(
        self, conversations: Sequence[Sequence[str]], controls: Sequence[ControlsLike]
    ) -> list[Decision]:
        """A decision for each conversation with its controls; one call of the encoder for all."""
        return [
            self._decide(turns, as_controls(asked), topics)
            for turns, asked, topics in zip(
                conversations, controls, self.detector.read_many(conversations), strict=True
            )
        ]

    def suits(self, fired: Sequence[Fired], replies: Sequence[str]) -> list[float] | None:
        """How far each reply reacts as the rules that fired prefer, 0 to 1; None without a wish.

        The sum of the wished reactions' probabilities less that of the unwished ones; where only
        reactions are unwished, 1 less these.
        """
        wanted: dict[str, float] = {}
        for rule in fired:  # what a surer rule prefers, a less sure one leaves as it is
            wanted = {**rule.change.prefer, **wanted}
        if self.reactions is None or not wanted:
            return None
        weights = [wanted.get(name, 0.0) for name in REACTIONS]
        start = max(0.0, 1 - sum(weight for weight in weights if weight > 0))
        sums = start + self.reactions.read(replies, wanted) @ weights
        return [min(1.0, max(0.0, float(value))) for value in sums]

    def _decide(self, turns: Sequence[str], asked: Controls, topics: "Topics") -> Decision:
        from chatbot.ngrams import hangul_share  # late: it imports numpy, `import chatbot` does not

        language = "ko" if hangul_share(turns[-1]) > 0.5 else "en"
        firing = [
            Fired(
                rule.name, rule.detector, topics.of(rule.detector), rule.threshold, rule.change,
                rule.reason.get(language, rule.reason["en"]),
            )
            for rule in self.rules
            if rule.is_on and rule.name not in asked.rules_off
            and topics.of(rule.detector) >= rule.threshold
        ]  # fmt: skip
        fired = tuple(sorted(firing, key=lambda one: -one.probability))
        before = asked.at((len(turns) + 1) // 2, turns[::-2][::-1])
        changed, notes = _changed(asked, fired, before)
        return Decision(changed, fired, topics, notes)


def _changed(
    asked: Controls, fired: Sequence[Fired], before: Mapping[str, float]
) -> tuple[Controls, tuple[str, ...]]:
    """The controls after all changes, and what the person loses by them.

    What a surer rule decided about an attribute, a less sure one leaves as it is.
    """
    if not fired:
        return asked, ()
    strengths, notes = dict(asked.strengths), []
    curves = dict(asked.schedule.curves) if asked.schedule else {}
    decided: set[str] = set()
    for rule in fired:
        for name in [*rule.change.set, *rule.change.aside]:
            if name in decided:
                continue
            decided.add(name)
            wanted, given = before.get(name, 0.0), rule.change.set.get(name, 0.0)
            if wanted != given and wanted != 0:
                what = f"{given:g}" if name in rule.change.set else "left out"
                notes.append(
                    f"{name} was asked at {wanted:g}; the rule {rule.name} makes it {what}."
                )
            strengths.pop(name, None)
            curves.pop(name, None)
            if name in rule.change.set:
                strengths[name] = given
    schedule = Schedule(curves) if curves else None
    return replace(asked, strengths=strengths, schedule=schedule), tuple(notes)


def read_rules(file: str | Path) -> tuple[Rule, ...]:
    """The rules of a file, checked; needs no model.

    Raises:
        InputError: the file is no policy; the message names the place and what was expected.
    """
    from pydantic import BaseModel, ConfigDict, Field, ValidationError

    class Told(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)

    class ToldChange(Told):
        set: dict[str, float] = Field(default_factory=dict)
        aside: list[str] = Field(default_factory=list)
        prefer: dict[str, float] = Field(default_factory=dict)

    class ToldRule(Told):
        name: str
        detector: str
        threshold: float
        change: ToldChange
        reason: dict[str, str]
        is_on: bool = True

    class ToldPolicy(Told):
        rules: list[ToldRule]

    try:
        told = ToldPolicy.model_validate(_json(Path(file)))
        rules = tuple(
            Rule(
                one.name, one.detector, one.threshold,
                Change(one.change.set, tuple(one.change.aside), one.change.prefer), one.reason,
                one.is_on,
            )
            for one in told.rules
        )  # fmt: skip
        _check_names(rules)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise InputError(
            f"{file}: {place}: {first['msg']}; see {SHIPPED.name} for the form"
        ) from error
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return rules


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error}); give a JSON file of rules") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{error}; expected JSON") from error


def _check_reactions(name: str, prefer: Mapping[str, float]) -> None:
    for reaction, weight in prefer.items():
        if reaction not in REACTIONS or not -1 <= weight <= 1:
            raise InputError(
                f"the rule {name} prefers {reaction} at {weight}; give a weight from -1 to 1 for "
                f"one of {', '.join(REACTIONS)}"
            )


def _check_names(rules: Sequence[Rule]) -> None:
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two rules are named {', '.join(twice)}; give each its own name")
