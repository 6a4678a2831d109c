"""Reads scored files into systems: responses with scores, grouped by conversation."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatbot.errors import InputError
from eval.jsonl import Json, Line
from eval.ssa.formats import Entry, Exchange, read_entries
from eval.ssa.labels import Label, majority

METRICS = ("sensible", "specific", "ssa")
"""All from 0 to 1; higher is better."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A response with its scores.

    Attributes:
        conversation: what it is dependent with: its dialogue, or its context.
        sensible, specific: 0 to 1, specific at most sensible.
    """

    exchange: Exchange
    conversation: Hashable
    sensible: float
    specific: float

    @property
    def ssa(self) -> float:
        return (self.sensible + self.specific) / 2


@dataclass(frozen=True, slots=True)
class System:
    """All scored responses of one system in one file.

    Attributes:
        made: how the responses came about, where the file says it: bot, contexts.
    """

    name: str
    path: Path
    scorer: Mapping[str, Any]
    made: Json
    responses: tuple[Judged, ...]

    def values(self, metric: str) -> list[float]:
        return [getattr(one, metric) for one in self.responses]

    def conversations(self) -> list[Hashable]:
        return [one.conversation for one in self.responses]

    def people(self, labels: Mapping[str, Mapping[str, Label]]) -> list[tuple[float, float] | None]:
        """The majority of the raters for each response; None where there is no label."""
        given = [labels.get(one.exchange.key) for one in self.responses]
        return [majority(each.values()) if each else None for each in given]


def read_systems(path: str | Path) -> list[System]:
    """The systems of a scored file: those its key `system` names, or else one.

    Raises:
        InputError: a line has no scores, or the lines are of several scorers.
    """
    path = Path(path)
    groups: dict[str, list[Entry]] = {}
    for entry in read_entries(path, "jsonl"):
        groups.setdefault(_system_of(entry.line), []).append(entry)
    systems = []
    for name, entries in groups.items():
        first = entries[0].line.record
        for entry in entries:
            if entry.line.record.get("scorer") != first.get("scorer"):
                raise entry.line.error("another scorer than before; score the whole file with one")
        made: Json = {key: first[key] for key in ("bot", "contexts") if key in first}
        judged = tuple(one for entry in entries for one in _judged(entry))
        systems.append(System(name, path, first["scorer"], made, judged))
    return systems


def read_system(path: str | Path) -> System:
    """The only system of a scored file.

    Raises:
        InputError: it holds several.
    """
    systems = read_systems(path)
    if len(systems) > 1:
        names = ", ".join(system.name for system in systems)
        raise InputError(f"{path} holds several systems ({names}); give a file of one")
    return systems[0]


def _system_of(line: Line) -> str:
    bot = line.record.get("bot")
    named = bot.get("name") if isinstance(bot, dict) else None
    return str(line.record.get("system") or named or line.path.name.partition(".")[0])


def _judged(entry: Entry) -> list[Judged]:
    record = entry.line.record
    scores = record.get("responses") if entry.is_dialogue else [record]
    if not isinstance(scores, list) or len(scores) != len(entry.exchanges):
        raise entry.line.error("has no scores; make them with `chatbot eval ssa score`")
    found = []
    for exchange, score in zip(entry.exchanges, scores, strict=True):
        sensible, specific = (_number(entry.line, score, name) for name in ("sensible", "specific"))
        if specific > sensible:
            raise entry.line.error(
                f"specific is {specific}, more than sensible, {sensible}; what makes no sense "
                "cannot be specific"
            )
        conversation = record.get("conversation")
        if not isinstance(conversation, str | int):
            own = record.get("id", entry.line.number)
            conversation = f"{own}" if entry.is_dialogue else exchange.context_key
        found.append(Judged(exchange, conversation, sensible, specific))
    if not isinstance(record.get("scorer"), dict):
        raise entry.line.error("has no `scorer`; make scores with `chatbot eval ssa score`")
    return found


def _number(line: Line, score: object, name: str) -> float:
    value = score.get(name) if isinstance(score, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise line.error(
            f"`{name}` is {value!r}, no number from 0 to 1; make scores with "
            "`chatbot eval ssa score`"
        )
    return float(value)


def labelled_only(
    systems: Sequence[System], labels: Mapping[str, Mapping[str, Label]]
) -> list[str]:
    """Keys of labels that no system has a response for."""
    known = {one.exchange.key for system in systems for one in system.responses}
    return [key for key in labels if key not in known]
