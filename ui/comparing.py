"""Comparisons: the same message answered under several controls, beside the conversation.

Nothing is stored, and nothing of the conversation changes. A comparison waits in the same queue as
chatting does. Functions from values to values, without Gradio.
"""

import logging
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from chatbot.controls import Controls
from chatbot.errors import ChatbotError, InputError
from chatbot.store import Conversations, StoredMessage
from chatbot.types import Reply
from ui.handlers import Screen, Service, Visitor, told
from ui.inspector import perplexity
from ui.panel import MOODS, Panel, read_panel, topics
from ui.texts import text
from ui.turns import Settings, as_turns

log = logging.getLogger(__name__)

SWEEP = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply of a comparison.

    Attributes:
        asked: attribute -> strength; empty for the base.
        shown: attribute -> strength read from the text, None where nothing reads it.
        perplexity: per piece, of the model that is not steered; None for a ready-made reply.
        notes: of its trace.
    """

    asked: Mapping[str, float]
    text: str
    shown: Mapping[str, float | None]
    perplexity: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one visitor compares.

    Attributes:
        attribute: the one of a strength sweep; None for base against steered.
        key: for `stop`; None when nothing runs.
        answers: those that are done.
    """

    attribute: str | None = None
    question: str = ""
    seed: int | None = None
    key: int | None = None
    answers: tuple[Answer, ...] = ()
    progress: str = ""
    problem: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The message that is answered."""

    message: StoredMessage
    turns: list[str] = field(default_factory=list)

    def strengths(self, controls: Controls) -> dict[str, float]:
        said = self.turns[::-2][::-1]
        strengths = controls.at((len(self.turns) + 1) // 2, said)
        return {name: value for name, value in strengths.items() if value}


def compare(
    service: Service, visitor: Visitor, screen: Screen, now: Comparison, panel: Panel
) -> Generator[Comparison, None, None]:
    """The last message answered without and with the controls, under one seed."""
    try:
        _check_idle(now, screen)
        settings = read_panel(panel)
        asked = _last_asked(service.store.of(visitor.id), screen)
        names = list(asked.strengths(settings.controls))
        if not names:
            raise InputError(text(screen.language, "nothing_to_compare"))
    except ChatbotError as error:
        yield replace(now, problem=str(error), notice="")
        return
    base = replace(settings.controls, strengths={}, schedule=None, feedback=0.0)
    both = [replace(settings, controls=one) for one in (base, settings.controls)]
    yield from _answers(service, screen, asked, None, names, both)


def sweep(
    service: Service,
    visitor: Visitor,
    screen: Screen,
    now: Comparison,
    panel: Panel,
    attribute: Any,
) -> Generator[Comparison, None, None]:
    """The last message answered at growing strengths of one attribute alone, under one seed."""
    try:
        _check_idle(now, screen)
        settings = read_panel(panel)
        if attribute not in (*MOODS, *topics()):
            raise InputError(text(screen.language, "choose_attribute"))
        asked = _last_asked(service.store.of(visitor.id), screen)
    except ChatbotError as error:
        yield replace(now, problem=str(error), notice="")
        return
    alone = replace(settings.controls, schedule=None, feedback=0.0)
    each = [
        replace(settings, controls=replace(alone, strengths={attribute: strength}))
        for strength in SWEEP
    ]
    yield from _answers(service, screen, asked, attribute, [attribute], each)


def stop(service: Service, now: Comparison) -> Comparison | None:
    """Ends a comparison, whose own steps tell of it; a value only where there is none to end."""
    if now.key is not None and service.turns.stop(now.key):
        return None
    return replace(now, key=None, progress="")


def _check_idle(now: Comparison, screen: Screen) -> None:
    if now.key is not None:
        raise InputError(text(screen.language, "comparing_already"))


def _last_asked(chats: Conversations, screen: Screen) -> _Asked:
    """The last message of the person in the branch that is shown."""
    if screen.conversation_id is not None:
        for message in reversed(chats.thread(screen.conversation_id)):
            if message.role == "user":
                return _Asked(message, as_turns(chats.branch(message.id)))
    raise InputError(text(screen.language, "nothing_asked"))


def _answers(
    service: Service,
    screen: Screen,
    asked: _Asked,
    attribute: str | None,
    names: Sequence[str],
    settings: Sequence[Settings],
) -> Generator[Comparison, None, None]:
    seed = settings[0].seed
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    key = -asked.message.id  # a reply to the same message may be made at the same time
    now = Comparison(attribute, asked.message.content, seed, key)
    yield replace(now, progress=text(screen.language, "reading"))
    seeded = [replace(one, seed=seed) for one in settings]
    try:
        with closing(service.turns.replies(key, asked.turns, seeded)) as events:
            for event in events:
                if isinstance(event, Reply):
                    done = len(now.answers)
                    strengths = asked.strengths(seeded[done].controls)
                    answer = _answer(service, event, strengths, names)
                    now = replace(now, answers=(*now.answers, answer))
                place = text(
                    screen.language, "answer_of", n=len(now.answers) + 1, total=len(settings)
                )
                if not isinstance(event, Reply):
                    place += f", {told(screen.language, event)}"
                yield replace(now, progress=place)
        is_whole = len(now.answers) == len(settings)
        notice = "" if is_whole else text(screen.language, "comparison_stopped")
        yield replace(now, key=None, notice=notice)
    except ChatbotError as error:
        yield replace(now, key=None, problem=str(error))
    except Exception as error:
        log.exception("a comparison failed")
        why = f"{type(error).__name__}: {error}"
        yield replace(now, key=None, problem=text(screen.language, "compare_failed", why=why))


def _answer(
    service: Service, reply: Reply, asked: Mapping[str, float], names: Sequence[str]
) -> Answer:
    chosen = next((one for one in reply.candidates if one.text == reply.text), None)
    likelihood = None
    if chosen is not None:
        likelihood = perplexity(
            {"log_likelihood": chosen.log_likelihood, "token_ids": chosen.token_ids}
        )
    shown = {name: service.turns.shown(name, reply.text) for name in names}
    return Answer(asked, reply.text, shown, likelihood, reply.trace.notes)
