"""What happens on each action of a visitor: functions from values to values, without Gradio.

The store is the only truth about conversations. A `Screen` holds what one visitor sees beside
them; every handler gives the next one. A problem becomes words on the screen, where it happened.
"""

import functools
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

from chatbot.errors import ChatbotError, InputError
from chatbot.presets import SHIPPED, Preset
from chatbot.store import Conversations, Store, StoredMessage
from chatbot.types import Progress
from ui.answers import Answers
from ui.labelling import Labelling
from ui.panel import Panel, read_panel
from ui.texts import LANGUAGES, Language, preferred_language, text
from ui.turns import Settings, Turns

P = ParamSpec("P")

_VISITOR = re.compile(r"[A-Za-z0-9_-]{32,64}")

LISTED = 40
"""Chats in the list at first, and how many more at a press: long lists make a page slow."""

Place = Literal["conversation", "chats"]
"""Of the page, where something is told."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all visitors share."""

    turns: Turns
    store: Store
    presets: Sequence[Preset] = SHIPPED
    """Offered to everybody."""
    labelling: Labelling | None = None
    """Of the one rater, whoever opens the page; None where no labels are asked for."""
    answers: Answers = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", Answers(self.turns, self.store))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Kept in the visitor's browser, so that a reload finds the chats again.

    Attributes:
        id: drawn by us; whoever has it sees the chats, so it goes to no other place.
        conversation_id: the chat that was open last.
    """

    id: str
    conversation_id: int | None = None
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class Screen:
    """What one visitor sees beside what the store holds.

    Attributes:
        inspected_id: message whose making is shown; None for the newest reply.
        editing_id: message that the composer holds a new version of.
        renaming_id, deleting_id: conversation whose row asks for a name, or for a yes.
        problem: what went wrong last, in words.
        notice: what else to tell about the last action.
        told_in: where that problem or notice is told: where the action was.
        listed: how many chats the list shows at most.
    """

    conversation_id: int | None = None
    language: Language = "en"
    search: str = ""
    inspected_id: int | None = None
    editing_id: int | None = None
    renaming_id: int | None = None
    deleting_id: int | None = None
    problem: str = ""
    notice: str = ""
    told_in: Place = "conversation"
    listed: int = LISTED

    def settled(self) -> "Screen":
        """The same, with nothing pending and nothing to tell."""
        return replace(
            self, renaming_id=None, deleting_id=None, problem="", notice="",
            told_in="conversation",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Action:
    """A press on something that we drew.

    Attributes:
        do: what is asked for.
        id: of the message or conversation it is about.
        value: what was typed or which one was meant.
    """

    do: str
    id: int = 0
    value: str = ""


def read_action(data: Any) -> Action:
    """The action in the data of a browser's event, which anybody could have sent.

    Raises:
        InputError: it is none of ours.
    """
    if isinstance(data, Mapping):
        do, number, value = (data.get(key, "") for key in ("do", "id", "value"))
        is_text = all(isinstance(part, str) for part in (do, number, value))
        if is_text and re.fullmatch("[0-9]{1,18}", number):
            return Action(do, int(number), value)
    raise InputError("this action is unknown; reload the page")


def read_visitor(kept: Any, accept_language: str = "") -> Visitor:
    """Who the browser says is there; somebody new where it says nothing that we wrote."""
    if isinstance(kept, Mapping):
        visitor_id, open_id, language = (
            kept.get(key) for key in ("id", "conversation_id", "language")
        )
        if isinstance(visitor_id, str) and _VISITOR.fullmatch(visitor_id):
            return Visitor(
                visitor_id,
                open_id if isinstance(open_id, int) and 0 < open_id < 1 << 63 else None,
                language if language in LANGUAGES else "en",
            )
    return Visitor(secrets.token_urlsafe(32), language=preferred_language(accept_language))


def thread(service: Service, visitor: Visitor, screen: Screen) -> list[StoredMessage]:
    """The branch that is shown; empty where there is none."""
    if screen.conversation_id is None:
        return []
    try:
        return service.store.of(visitor.id).thread(screen.conversation_id)
    except ChatbotError:  # deleted in another window
        return []


# -- arriving


def arrive(service: Service, visitor: Visitor) -> Screen:
    """The screen as the visitor left it."""
    screen = Screen(language=visitor.language)
    if visitor.conversation_id is not None:
        try:
            service.store.of(visitor.id).get(visitor.conversation_id)
        except InputError:  # deleted, perhaps in another window
            return screen
        screen = replace(screen, conversation_id=visitor.conversation_id)
    return screen


# -- a turn

Step = tuple[Screen, str | None]
"""A screen, and what the composer holds from then on; None leaves it as it is."""


def send(
    service: Service, visitor: Visitor, screen: Screen, draft: str, panel: Panel
) -> Step | None:
    """Says what the composer holds: a new message, or the new version of the edited one.

    Its reply is on its way then. None where there is nothing to say, or the chat is still being
    answered.

    Args:
        panel: the values of the settings, for `read_panel`.
    """
    if not draft.strip() or service.answers.is_on_its_way(screen.conversation_id):
        return None
    service.answers.forget(screen.conversation_id)
    screen = screen.settled()
    chats = service.store.of(visitor.id)
    try:
        settings = read_panel(panel)
        if screen.editing_id is None:
            message = _say(chats, screen, draft)
        else:
            message = _say_anew(chats, screen.editing_id, draft)
    except ChatbotError as error:
        return replace(screen, problem=str(error)), draft
    screen = replace(
        screen, conversation_id=message.conversation_id, editing_id=None, inspected_id=None
    )
    if message.role == "user":
        screen = _begin_reply(service, visitor, screen, message, settings)
    return screen, ""


def retry(
    service: Service, visitor: Visitor, screen: Screen, message_id: int, panel: Panel
) -> Screen:
    """Another reply beside the one of `message_id`, or a first one to it, with a new seed."""
    service.answers.forget(screen.conversation_id)
    screen = screen.settled()
    chats = service.store.of(visitor.id)
    try:
        settings = replace(read_panel(panel), seed=None)
        message = chats.message(message_id)
        if message.role == "bot":
            if message.parent_id is None:
                raise InputError("nothing was said before this message that could be answered")
            message = chats.message(message.parent_id)
    except ChatbotError as error:
        return replace(screen, problem=str(error))
    return _begin_reply(service, visitor, replace(screen, inspected_id=None), message, settings)


def _begin_reply(
    service: Service, visitor: Visitor, screen: Screen, asked: StoredMessage, settings: Settings
) -> Screen:
    try:
        service.answers.begin(visitor.id, asked, settings)
    except ChatbotError as error:
        return replace(screen, problem=str(error))
    return screen


def stop(service: Service, screen: Screen) -> Screen | None:
    """Ends the reply to the open chat; a screen only where there is none to end."""
    return None if service.answers.stop(screen.conversation_id) else screen.settled()


def _say(chats: Conversations, screen: Screen, draft: str) -> StoredMessage:
    open_id = screen.conversation_id
    conversation_id = chats.create().id if open_id is None else open_id
    thread = chats.thread(conversation_id)
    parent_id = thread[-1].id if thread else None
    return chats.message(chats.add_user(conversation_id, draft, parent_id=parent_id))


def _say_anew(chats: Conversations, message_id: int, draft: str) -> StoredMessage:
    """A new version of a message, the person's or the bot's."""
    message = chats.message(message_id)
    add = chats.add_user if message.role == "user" else chats.add_bot
    return chats.message(add(message.conversation_id, draft, parent_id=message.parent_id))


def told(language: Language, event: Progress | str) -> str:
    """How far a reply is, in words."""
    if not isinstance(event, Progress):
        return text(language, event)
    return text(
        language, "progress", candidates=event.candidates, tokens=event.tokens,
        max_tokens=event.max_tokens,
    )  # fmt: skip


# -- everything that is done at once


Handler = Callable[Concatenate[Service, Visitor, Screen, P], Screen]


def _at_once(told_in: Place) -> Callable[[Handler[P]], Handler[P]]:
    """Makes a handler tell its problems in words, in a place; what was told before is gone."""

    def wrap(handler: Handler[P]) -> Handler[P]:
        @functools.wraps(handler)
        def guarded(
            service: Service, visitor: Visitor, screen: Screen, /, *args: P.args, **kwargs: P.kwargs
        ) -> Screen:
            service.answers.forget(screen.conversation_id)
            screen = replace(screen.settled(), told_in=told_in)
            try:
                return handler(service, visitor, screen, *args, **kwargs)
            except ChatbotError as error:
                return replace(screen, problem=str(error))

        return guarded

    return wrap


@_at_once("chats")
def on_conversation(service: Service, visitor: Visitor, screen: Screen, action: Action) -> Screen:
    """A press in the list of conversations."""
    chats = service.store.of(visitor.id)
    match action.do:
        case "open":
            opened = chats.get(action.id).id
            return replace(screen, conversation_id=opened, inspected_id=None, editing_id=None)
        case "rename":
            return replace(screen, renaming_id=chats.get(action.id).id)
        case "name":
            chats.rename(action.id, action.value)
        case "delete":
            return replace(screen, deleting_id=chats.get(action.id).id)
        case "delete_sure":
            chats.delete(action.id)
            service.answers.stop(action.id)
            if action.id == screen.conversation_id:
                return _empty(screen)
        case "keep":
            pass
        case "more":
            return replace(screen, listed=screen.listed + LISTED)
        case _:
            raise InputError(f"the action {action.do!r} is unknown; reload the page")
    return screen


@_at_once("conversation")
def on_message(service: Service, visitor: Visitor, screen: Screen, action: Action) -> Screen:
    """A press at a message or in the inspector that starts no reply."""
    chats = service.store.of(visitor.id)
    message = chats.message(action.id)
    is_changing = action.do in ("version", "edit", "take")
    if is_changing and service.answers.is_on_its_way(message.conversation_id):
        return screen  # the branch that is answered stays the one that is shown
    match action.do:
        case "version":
            chats.show(message.id)
            is_drawn = message.reply_json is not None
            return replace(screen, inspected_id=message.id if is_drawn else None)
        case "rate":
            asked = 1 if action.value == "1" else -1
            chats.rate(message.id, 0 if message.rating == asked else asked)
        case "inspect":
            return replace(screen, inspected_id=message.id)
        case "edit":
            return replace(screen, editing_id=message.id)
        case "take":
            return replace(screen, inspected_id=_take(chats, message, action.value))
        case _:
            raise InputError(f"the action {action.do!r} is unknown; reload the page")
    return screen


def _take(chats: Conversations, message: StoredMessage, place: str) -> int:
    """Makes another candidate the reply, beside the one that was given."""
    candidates = message.reply["candidates"] if message.reply else []
    if not place.isdecimal() or int(place) >= len(candidates):
        raise InputError(f"this reply has no candidate {place!r}; reload the page")
    content = candidates[int(place)]["text"]
    for version_id in message.versions:
        version = chats.message(version_id)
        if version.content == content and version.seed == message.seed:
            chats.show(version_id)
            return version_id
    return chats.add_bot(
        message.conversation_id, content, parent_id=message.parent_id, reply=message.reply,
        controls=message.reply and message.reply["trace"]["controls"],
    )  # fmt: skip


@_at_once("conversation")
def begin(service: Service, visitor: Visitor, screen: Screen) -> Screen:
    """An empty chat; it is stored with its first message."""
    return _empty(screen)


def _empty(screen: Screen) -> Screen:
    return replace(screen, conversation_id=None, inspected_id=None, editing_id=None)


@_at_once("conversation")
def leave_edit(service: Service, visitor: Visitor, screen: Screen) -> Screen:
    """The message stays as it was."""
    return replace(screen, editing_id=None)


@_at_once("chats")
def look_for(service: Service, visitor: Visitor, screen: Screen, search: str) -> Screen:
    """Shows the chats that hold every word."""
    return replace(screen, search=search, listed=LISTED)


@_at_once("chats")
def speak(service: Service, visitor: Visitor, screen: Screen, language: Language) -> Screen:
    """The interface in another language."""
    if language not in LANGUAGES:
        raise InputError(f"the language {language!r} is unknown; there are {', '.join(LANGUAGES)}")
    return replace(screen, language=language)


@_at_once("chats")
def bring_in(service: Service, visitor: Visitor, screen: Screen, path: str | Path) -> Screen:
    """Imports a file of conversations."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # no other line ends
        imported = service.store.of(visitor.id).import_lines(lines)
    except UnicodeDecodeError:
        why = text(screen.language, "import_not_text")
        return replace(screen, problem=text(screen.language, "import_failed", why=why))
    except InputError as error:
        return replace(screen, problem=text(screen.language, "import_failed", why=error))
    return replace(
        screen, search="", conversation_id=imported[0], inspected_id=None, editing_id=None,
        notice=text(screen.language, "imported", n=len(imported)),
    )  # fmt: skip


def take_out(service: Service, visitor: Visitor) -> str:
    """All conversations of a visitor as JSONL."""
    return "".join(line + "\n" for line in service.store.of(visitor.id).export_lines())


def edited_text(service: Service, visitor: Visitor, screen: Screen) -> str:
    """What the composer begins with when a message is edited."""
    if screen.editing_id is None:
        return ""
    return service.store.of(visitor.id).message(screen.editing_id).content
