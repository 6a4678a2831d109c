"""Replies on their way, one for a chat: they go on whoever looks, and end in the store.

Nothing here knows what a page shows. Whoever opens a chat asks whether it is being answered.
"""

import itertools
import logging
import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from chatbot.errors import ChatbotError, InputError
from chatbot.store import Store, StoredMessage
from chatbot.types import Progress, Reply
from ui.turns import Settings, Turns, Waiting, as_turns

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Replies that are made or waited for at most, of all visitors."""

REMEMBERED = 1000
"""Chats at most of which is known why their last reply did not come."""


@dataclass(frozen=True, slots=True)
class Answering:
    """A reply on its way to a chat, or why none came.

    Attributes:
        number: of this reply alone.
        asked_id: message that is answered.
        told: what was told of it last; after "stopped", "failed" and "broke" nothing comes.
        why: no reply came; of "failed" a sentence, of "broke" an exception in words.
    """

    number: int
    visitor_id: str
    conversation_id: int
    asked_id: int
    told: Waiting | Progress | Literal["stopped", "failed", "broke"] = "reading"
    why: str = ""

    @property
    def is_over(self) -> bool:
        """Whether no reply comes any more."""
        return self.told in ("stopped", "failed", "broke")


class Answers:
    """The replies of all visitors that are being made, and why the last ones did not come."""

    def __init__(self, turns: Turns, store: Store):
        self._turns = turns
        self._store = store
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._last: dict[int, Answering] = {}
        """By conversation. A chat whose reply came is not in it."""

    def begin(self, visitor_id: str, asked: StoredMessage, settings: Settings) -> None:
        """Starts a reply to a message, to be kept in its chat.

        Raises:
            InputError: the chat is being answered already, or too many are; or the chat is gone.
        """
        branch = self._store.of(visitor_id).branch(asked.id)
        with self._lock:
            under_way = {key for key, one in self._last.items() if not one.is_over}
            if asked.conversation_id in under_way:
                raise InputError("this chat is being answered already; wait, or stop that reply")
            if len(under_way) >= AT_ONCE:
                raise InputError(f"{AT_ONCE} replies are on their way already; try again soon")
            now = Answering(next(self._numbers), visitor_id, asked.conversation_id, asked.id)
            events = self._turns.reply(asked.id, as_turns(branch), settings)
            self._last[asked.conversation_id] = now
        threading.Thread(
            target=self._answer, args=(now, events), name="answering", daemon=True
        ).start()

    def of(self, conversation_id: int | None) -> Answering | None:
        """The reply on its way to a chat, or why the last one did not come."""
        return None if conversation_id is None else self._last.get(conversation_id)

    def is_on_its_way(self, conversation_id: int | None) -> bool:
        """Whether a chat is being answered."""
        now = self.of(conversation_id)
        return now is not None and not now.is_over

    def look(
        self, visitor_id: str, conversation_id: int | None = None
    ) -> tuple[Answering | None, list[Answering]]:
        """What `of` says of a chat, and at that moment all replies that a visitor waits for."""
        with self._lock:
            mine = [one for one in self._last.values() if one.visitor_id == visitor_id]
            under_way = sorted((one for one in mine if not one.is_over), key=lambda one: one.number)
            return next((o for o in mine if o.conversation_id == conversation_id), None), under_way

    def stop(self, conversation_id: int | None) -> bool:
        """Ends the reply to a chat within a token; False where none is being made."""
        now = self.of(conversation_id)
        return now is not None and not now.is_over and self._turns.stop(now.asked_id)

    def forget(self, conversation_id: int | None) -> None:
        """Lets go of why the last reply did not come: it was read."""
        with self._lock:
            now = self.of(conversation_id)
            if now is not None and now.is_over:
                del self._last[now.conversation_id]

    def _answer(
        self, now: Answering, events: Generator[Waiting | Progress | Reply, None, None]
    ) -> None:
        end: Answering | None = replace(now, told="stopped")
        try:
            with closing(events):
                for event in events:
                    if isinstance(event, Reply):
                        self._keep(now, event)
                        end = None
                    else:
                        self._tell(replace(now, told=event))
        except ChatbotError as error:
            end = replace(now, told="failed", why=str(error))
        except Exception as error:
            log.exception("a reply failed")
            end = replace(now, told="broke", why=f"{type(error).__name__}: {error}")
        finally:
            self._end(now, end)

    def _tell(self, now: Answering) -> None:
        with self._lock:
            self._last[now.conversation_id] = now

    def _keep(self, now: Answering, reply: Reply) -> None:
        record = reply.to_dict()
        self._store.of(now.visitor_id).add_bot(
            now.conversation_id, reply.text, parent_id=now.asked_id, reply=record,
            controls=record["trace"]["controls"],
        )  # fmt: skip

    def _end(self, now: Answering, end: Answering | None) -> None:
        try:
            self._store.of(now.visitor_id).get(now.conversation_id)
        except ChatbotError:  # deleted meanwhile: nobody can ask
            end = None
        with self._lock:
            del self._last[now.conversation_id]
            if end is not None:
                self._last[now.conversation_id] = end
            over = [key for key, one in self._last.items() if one.is_over]
            for key in over[: max(0, len(over) - REMEMBERED)]:
                del self._last[key]
