"""A controllable dialogue chatbot: `Chatbot.load().respond("Hi!")`.

Importing this package loads neither torch nor a model; both start with the first `Chatbot`.
"""

from typing import TYPE_CHECKING, Any

from chatbot.controls import Controls, Curve, Schedule
from chatbot.errors import ChatbotError, InputError, ModelError, UnknownAttributeError
from chatbot.types import Candidate, Progress, Ranking, Reply, Sampling, Trace

if TYPE_CHECKING:
    from chatbot.bot import Chatbot, Conversation

__all__ = [
    "Candidate",
    "Chatbot",
    "ChatbotError",
    "Controls",
    "Conversation",
    "Curve",
    "InputError",
    "ModelError",
    "Progress",
    "Ranking",
    "Reply",
    "Sampling",
    "Schedule",
    "Trace",
    "UnknownAttributeError",
]


def __getattr__(name: str) -> Any:
    if name in ("Chatbot", "Conversation"):
        from chatbot import bot

        return getattr(bot, name)
    raise AttributeError(f"module 'chatbot' has no attribute {name!r}")
