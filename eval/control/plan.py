"""What is asked of the bot: contexts, conversations, and the ways of answering them.

Knows no models. A `Run` is written beside the replies, so that the tables can be made again from
the folder alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from attribute_models.lexicon import language_of
from chatbot.controls import Controls, Mode, Schedule
from chatbot.errors import InputError
from eval.jsonl import Line, read_lines
from eval.respond import check_context

if TYPE_CHECKING:
    from chatbot.bot import Chatbot
    from eval.judges import Jury

CONTEXTS = Path(__file__).parents[1] / "contexts"
"""Files of our own writing: `en.jsonl`, `ko.jsonl`, and `talks.jsonl`, the person's side of
conversations of six turns."""

GRADED_TURNS = 6

HIDDEN: Mode = "hidden"
"""The mode that `Controls` steers in when it names none."""

Kind = Literal["plain", "steered", "ranked"]


class Context(BaseModel):
    """A conversation to be answered once."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    turns: tuple[str, ...]


class Talk(BaseModel):
    """What a person says in a conversation, whatever the bot answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    person: tuple[str, ...]


class Run(BaseModel):
    """All that decides which replies an evaluation is made of.

    Attributes:
        model: name and digest of the generator.
        mixes: sets of attributes, each asked for at full strength.
        strengths: above 0, rising.
        graded: attributes that rise over the turns of `talks`.
        best_of: whether ranking unsteered candidates is measured as a rival.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: Mapping[str, str]
    attributes: tuple[str, ...]
    mixes: tuple[tuple[str, ...], ...]
    strengths: tuple[float, ...]
    modes: tuple[Mode, ...]
    contexts: tuple[Context, ...]
    talks: tuple[Talk, ...]
    graded: tuple[str, ...]
    seed: int
    candidates: int
    batch: int
    best_of: bool

    @property
    def language(self) -> str:
        """Of the contexts, by their last turns: en or ko."""
        said = " ".join(context.turns[-1] for context in self.contexts)
        return language_of(said) or "en"

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Run":
        """What `save` wrote.

        Raises:
            InputError: there is no such file, or it is of another version.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; give the --out folder of an earlier run"
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{path}: {where}: {first['msg']}; run again without --report-only"
            ) from error


@dataclass(frozen=True, slots=True)
class Condition:
    """One way of answering all contexts.

    Attributes:
        kind: plain leaves the bot alone; ranked draws unsteered candidates and lets the ranking
            choose the one that shows the attributes best.
        strengths: attribute -> strength.
    """

    kind: Kind
    strengths: tuple[tuple[str, float], ...] = ()
    mode: Mode = HIDDEN

    def controls(self) -> Controls:
        """That ask the bot for it."""
        asked = Controls(dict(self.strengths))
        if self.kind == "ranked":
            return replace(asked, spread=(0.0,))
        return replace(asked, mode=self.mode)

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.strengths)


PLAIN = Condition("plain")


def conditions(run: Run) -> Iterator[Condition]:
    """Every way of answering the contexts of a run, the plain one first."""
    yield PLAIN
    for mode in run.modes:
        for name in run.attributes:
            for strength in run.strengths:
                yield Condition("steered", ((name, strength),), mode)
        for mix in run.mixes:
            yield full(mix, mode)
    if run.best_of:
        for name in run.attributes:
            yield ranked((name,))
        for mix in run.mixes:
            yield ranked(mix)


def full(names: Sequence[str], mode: Mode, strength: float = 1.0) -> Condition:
    """Attributes asked for together, each as strongly."""
    return Condition("steered", tuple((name, strength) for name in names), mode)


def ranked(names: Sequence[str]) -> Condition:
    """The rival: the best of unsteered candidates."""
    return Condition("ranked", tuple((name, 1.0) for name in names))


def graded_controls(attribute: str, mode: Mode) -> Controls:
    """An attribute that rises from nothing to full strength over a conversation."""
    ramp = Schedule.ramp(attribute, 0.0, 1.0, turns=GRADED_TURNS)
    return Controls(schedule=ramp, mode=mode)


def check_run(run: Run, bot: "Chatbot", jury: "Jury") -> None:
    """Refuses what the bot cannot do or the judges cannot see, before hours of work.

    Raises:
        UnknownAttributeError: the bot has no such attribute.
        InputError: no judge knows an attribute, or there is nothing to do.
    """
    if not run.attributes:
        raise InputError("no attributes; give some, such as --attributes joy,game")
    names = [*run.attributes, *(name for mix in run.mixes for name in mix), *run.graded]
    bot.check(dict.fromkeys(names, 1.0))
    unseen = sorted(set(names) - set(jury.attributes()))
    if unseen:
        raise InputError(
            f"no judge knows {', '.join(unseen)}; the judges know {', '.join(jury.attributes())}"
        )


def read_contexts(path: Path, most: int) -> tuple[Context, ...]:
    """The first contexts of a file of {"context": [...]} lines.

    Raises:
        InputError: a line is not what it should be.
    """
    lines = read_lines(path, check_context)[:most]
    return tuple(
        Context(id=str(line.record.get("id", line.number)), turns=tuple(line.record["context"]))
        for line in lines
    )


def read_talks(path: Path) -> tuple[Talk, ...]:
    """The conversations of a file, of {"person": [six turns]} lines.

    Raises:
        InputError: a line is not what it should be.
    """
    lines = read_lines(path, _check_talk)
    return tuple(
        Talk(id=str(line.record.get("id", line.number)), person=tuple(line.record["person"]))
        for line in lines
    )


def _check_talk(line: Line) -> None:
    person = line.record.get("person")
    if (
        not isinstance(person, list)
        or len(person) != GRADED_TURNS
        or not all(isinstance(turn, str) and turn.strip() for turn in person)
    ):
        raise line.error(f"expected `person`, a list of {GRADED_TURNS} turns")
