"""Conversations that the service keeps for clients who ask for it, in the store of `chatbot`.

A conversation is reached by its id alone, which nobody can guess and which no route lists; where
the service has an API key, clients need that too. Several services may share one file, so that
one goes on with what another began. Knows nothing of HTTP.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chatbot.errors import ChatbotError, InputError
from chatbot.store import MEMORY, Conversations, Role, Store, StoredConversation, StoredMessage
from chatbot.types import Reply

_ID = re.compile("conv_[0-9a-f]{48}")
NOT_IN_FILE = (
    "The service cannot write its file of conversations: this one is kept in memory only and is "
    "lost when the service ends."
)


class NoConversationError(ChatbotError):
    """There is no conversation of this id."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation as it was when it was read.

    Attributes:
        id: as clients know it.
        messages: of the branch that is shown, oldest first.
    """

    id: str
    stored: StoredConversation
    messages: tuple[StoredMessage, ...]

    @property
    def end(self) -> int | None:
        """The last message; None while there is none."""
        return self.messages[-1].id if self.messages else None

    def to_dict(self) -> dict[str, Any]:
        """As a client reads it: OpenAI's conversation, and its messages."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": int(self.stored.created_at),
            "metadata": {},
            "messages": [
                {
                    "role": "user" if one.role == "user" else "assistant",
                    "content": one.content,
                    "created_at": int(one.created_at),
                }
                for one in self.messages
            ],
        }


class KeptConversations:
    """Begins, reads, goes on with and deletes conversations; safe to share by threads.

    Args:
        path: the file, made where there is none, or `MEMORY` for none.
        is_shared: whether other processes write it too; then none of them goes on in memory alone
            when the file cannot be written.

    Raises:
        InputError: memory is to be shared.
        StoreError: the file cannot be used.
    """

    def __init__(self, path: str, *, is_shared: bool = False):
        if is_shared and path == MEMORY:
            raise InputError("replicas share conversations by a file; give --store a FILE")
        self._store = Store.named(path, or_memory=not is_shared)

    @property
    def notice(self) -> str | None:
        """What a client must know of where its conversation is kept; None while all is well."""
        return NOT_IN_FILE if self._store.notice is not None else None

    def begin(self) -> Kept:
        """A new, empty conversation."""
        conversation_id = f"conv_{secrets.token_hex(24)}"
        return Kept(conversation_id, self._of(conversation_id).create(), ())

    def read(self, conversation_id: str) -> Kept:
        """The conversation of an id.

        Raises:
            NoConversationError: there is none.
        """
        chats = self._of(conversation_id)
        stored = next(iter(chats.listed()), None) if _ID.fullmatch(conversation_id) else None
        if stored is None:
            raise NoConversationError(
                f"there is no conversation {conversation_id!r:.80}; it may be deleted. Begin one "
                "with POST /v1/conversations"
            )
        return Kept(conversation_id, stored, tuple(chats.thread(stored.id)))

    def add_turn(self, kept: Kept, said: Sequence[tuple[Role, str]], reply: Reply) -> None:
        """Goes on with a conversation that was read.

        Args:
            said: the new messages and, last, the answer as the client has it.

        Raises:
            ChangedError: another client went on with it since then.
        """
        plain = reply.to_dict()
        self._of(kept.id).add_turn(
            kept.stored.id, said, after=kept.end, reply=plain, controls=plain["trace"]["controls"]
        )

    def delete(self, conversation_id: str) -> None:
        """Deletes a conversation with all its messages, from the disk too.

        Raises:
            NoConversationError: there is none.
        """
        self._of(conversation_id).delete(self.read(conversation_id).stored.id)

    def delete_older(self, days: float) -> None:
        """Deletes what nobody wrote to for so long."""
        self._store.delete_older(days)

    def close(self) -> None:
        """Ends it; what was kept in memory is gone."""
        self._store.close()

    def _of(self, conversation_id: str) -> Conversations:
        # An owner of its own: visitors of the chat page, who may share the file, are others.
        return self._store.of(f"api:{conversation_id}")
