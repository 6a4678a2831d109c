"""Conversations as JSONL, one a line, in the shape that OpenAI clients read.

    {"title": "...", "created_at": 1.0, "updated_at": 2.0,
     "messages": [{"role": "user", "content": "Hi!", "id": 1, "parent": null, ...}, ...],
     "branches": [...]}

`messages` is the branch that is shown, so a reader of `role` and `content` alone sees a plain
conversation. `branches` holds the other messages of the tree. Both carry `id` and `parent`, and
where there are: `created_at`, `rating`, `note`, `controls`, `reply`. On the way in all of these
may be left out; messages without `id` follow one another.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from chatbot.errors import InputError
from chatbot.types import Reply

if TYPE_CHECKING:
    from chatbot.store import Role, StoredConversation, StoredMessage

MAX_CONTENT = 100_000
MAX_MESSAGES = 100_000


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message that is not yet stored; ids are those of its line."""

    id: int
    parent_id: int | None
    role: "Role"
    content: str
    created_at: float
    rating: int
    note: str
    controls: dict[str, Any] | None
    reply: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ConversationDraft:
    """A conversation that is not yet stored; every parent stands before its children."""

    title: str
    created_at: float
    updated_at: float
    messages: tuple[MessageDraft, ...]
    leaf_id: int


def line_of(
    conversation: "StoredConversation",
    thread: Sequence["StoredMessage"],
    tree: Sequence["StoredMessage"],
) -> str:
    """The line of a conversation, without its end.

    Args:
        thread: the branch that is shown.
        tree: all messages.
    """
    shown = {message.id for message in thread}
    record = {
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "messages": [_record(message) for message in thread],
        "branches": [_record(message) for message in tree if message.id not in shown],
    }
    return json.dumps(record, ensure_ascii=False)


def read_lines(lines: Iterable[str]) -> list[ConversationDraft]:
    """The conversations of all lines that are not blank.

    Raises:
        InputError: the message names the line and what was expected in it.
    """
    drafts = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                drafts.append(_draft(_Line.model_validate_json(line)))
            except ValidationError as error:
                raise InputError(f"line {number}: {_first_problem(error)}") from error
            except InputError as error:
                raise InputError(f"line {number}: {error}") from error
    if not drafts:
        raise InputError("there is no conversation in it; expected one JSON object a line")
    return drafts


def _record(message: "StoredMessage") -> dict[str, Any]:
    record: dict[str, Any] = {
        "role": "assistant" if message.role == "bot" else "user",
        "content": message.content,
        "id": message.id,
        "parent": message.parent_id,
        "created_at": message.created_at,
    }
    if message.rating:
        record |= {"rating": message.rating, "note": message.note}
    if message.controls_json is not None:
        record["controls"] = json.loads(message.controls_json)
    if message.reply_json is not None:
        record["reply"] = message.reply
    return record


def _joined(content: Any) -> Any:
    """OpenAI's other shape of a content, a list of text parts, as one string."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        return "".join(part["text"] for part in content)
    return content


_Id = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
_Time = Annotated[float, Field(ge=0, lt=1e11, default_factory=time.time)]


def _from_a_bot(reply: Reply) -> Reply:
    if not reply.candidates or not 0 <= reply.seed < 1 << 63:
        raise ValueError("a reply has candidates and a seed below 2^63")
    return reply


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined), Field(max_length=MAX_CONTENT)]
    id: _Id | None = None
    parent: _Id | None = None
    created_at: _Time
    rating: Literal[-1, 0, 1] = 0
    note: Annotated[str, Field(max_length=MAX_CONTENT)] = ""
    controls: dict[str, Any] | None = None
    reply: Annotated[Reply, AfterValidator(_from_a_bot)] | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(max_length=MAX_CONTENT)] = ""
    created_at: _Time
    updated_at: _Time
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    branches: Annotated[list[_Message], Field(max_length=MAX_MESSAGES)] = []


def _draft(line: _Line) -> ConversationDraft:
    if all(message.id is None for message in line.messages) and not line.branches:
        for place, message in enumerate(line.messages):
            message.id, message.parent = place, place - 1 if place else None
    messages = []
    known: set[int | None] = {None}
    for message in sorted([*line.messages, *line.branches], key=lambda one: one.id or 0):
        if message.id is None or message.id in known:
            raise InputError("every message needs an id of its own, or none may have one")
        if message.parent not in known:
            raise InputError(
                f"the parent of message {message.id} is {message.parent}; "
                "expected the id of a message with a smaller id"
            )
        known.add(message.id)
        messages.append(
            MessageDraft(
                id=message.id,
                parent_id=message.parent,
                role="bot" if message.role == "assistant" else "user",
                content=message.content,
                created_at=message.created_at,
                rating=message.rating,
                note=message.note,
                controls=message.controls,
                reply=None if message.reply is None else message.reply.to_dict(),
            )
        )
    leaf_id = line.messages[-1].id
    assert leaf_id is not None  # refused above
    title = line.title or next((m.content for m in messages if m.role == "user"), "")
    return ConversationDraft(title, line.created_at, line.updated_at, tuple(messages), leaf_id)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]
