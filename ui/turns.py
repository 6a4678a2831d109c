"""Replies made in a thread of their own, told of while they are made, ended when nobody listens."""

import queue
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Literal, Protocol

from attribute_models.lexicon import language_of
from chatbot.bot import OnProgress
from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.store import Role, StoredMessage
from chatbot.types import Progress, Ranking, Reply, Sampling

POLL_S = 0.2
"""How often a reader that waits for the model or for its turn looks whether it is still wanted."""

Waiting = Literal["loading", "waiting", "reading"]


class Bot(Protocol):
    """What answers: `chatbot.Chatbot`, or a scripted one in tests."""

    def respond(
        self,
        turns: Sequence[str],
        /,
        *,
        controls: Controls | None,
        seed: int | None,
        sampling: Sampling | None,
        ranking: Ranking | None,
        on_progress: OnProgress | None,
        stop: threading.Event | None,
    ) -> Reply: ...

    @property
    def steerer(self) -> "Steerer": ...


class Steerer(Protocol):
    """What reads attributes from a text."""

    def shown(self, name: str, text: str, language: str) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How the next reply is drawn."""

    controls: Controls = field(default_factory=Controls)
    sampling: Sampling = field(default_factory=Sampling)
    ranking: Ranking = field(default_factory=Ranking)
    seed: int | None = None


def as_turns(thread: Sequence[StoredMessage]) -> list[str]:
    """The turns of a branch as the bot reads them."""
    return joined((message.role, message.content) for message in thread)


def joined(said: Iterable[tuple[Role, str]]) -> list[str]:
    """The alternating turns: what one side said in a row is one turn."""
    sides = groupby(said, key=itemgetter(0))
    return ["\n".join(content for _, content in in_a_row) for _, in_a_row in sides]


class Turns:
    """Makes the replies of all visitors.

    Args:
        bot: still loading, perhaps.
        at_once: replies that are made at a time; a second would slow both, unless the bot answers
            several in a batch.
    """

    def __init__(self, bot: "Future[Bot]", *, at_once: int = 1):
        self._bot = bot
        self._at_once = at_once
        self._slot = threading.Semaphore(at_once)
        self._stops: dict[int, threading.Event] = {}

    def stop(self, key: int) -> bool:
        """Ends the reply of this key within a token; False where none is being made."""
        stop = self._stops.get(key)
        if stop is not None:
            stop.set()
        return stop is not None

    def close(self, limit_s: float = 10.0) -> None:
        """Ends what is being made and waits for it: a program must not end under the model."""
        for stop in list(self._stops.values()):
            stop.set()
        end = time.monotonic() + limit_s
        waits = (max(0.0, end - time.monotonic()) for _ in range(self._at_once))
        if free := sum(self._slot.acquire(timeout=wait_s) for wait_s in waits):
            self._slot.release(free)

    def reply(
        self, key: int, turns: Sequence[str], settings: Settings
    ) -> Generator[Waiting | Progress | Reply, None, None]:
        """What happens until the reply, which comes last; see `replies`."""
        return self.replies(key, turns, [settings])

    def replies(
        self, key: int, turns: Sequence[str], settings: Sequence[Settings]
    ) -> Generator[Waiting | Progress | Reply, None, None]:
        """What happens until the last of the replies to the same turns, one for each settings.

        Stopped, it ends without those that are still to come. Closing the iterator stops it too.
        Between two replies other visitors have their turn.

        Args:
            key: what is answered, for `stop`, which works from now on. Whoever calls this has to
                iterate, or the key stays taken.

        Raises:
            InputError: it is being answered already.
            Whatever the bot raises, and what kept it from loading; while iterating.
        """
        stop = threading.Event()
        if self._stops.setdefault(key, stop) is not stop:
            raise InputError("this message is being answered already; wait, or stop that reply")
        return self._each(key, turns, settings, stop)

    def _each(
        self, key: int, turns: Sequence[str], settings: Sequence[Settings], stop: threading.Event
    ) -> Generator[Waiting | Progress | Reply, None, None]:
        try:
            for one in settings:
                yield from self._events(turns, one, stop)
                if stop.is_set():
                    return
        finally:
            stop.set()
            del self._stops[key]

    def shown(self, attribute: str, reply: str) -> float | None:
        """The strength, 0 to 1, at which a text shows an attribute; None where nothing reads it.

        To be called after a reply: the bot is loaded then.
        """
        language = language_of(reply) or "en"
        return self._bot.result().steerer.shown(attribute, reply, language)

    def _events(
        self, turns: Sequence[str], settings: Settings, stop: threading.Event
    ) -> Generator[Waiting | Progress | Reply, None, None]:
        while not self._bot.done():
            yield "loading"
            wait([self._bot], timeout=POLL_S)
            if stop.is_set():
                return
        bot = self._bot.result()
        while not self._slot.acquire(timeout=POLL_S):
            yield "waiting"
            if stop.is_set():
                return
        # The worker gives the slot back, so that it stays taken until the model is really free.
        events: queue.SimpleQueue[Progress | Reply | BaseException] = queue.SimpleQueue()
        worker = threading.Thread(
            target=self._work, args=(bot, turns, settings, events, stop), daemon=True
        )
        worker.start()
        yield "reading"
        while True:
            event = events.get()
            while isinstance(event, Progress) and not events.empty():
                event = events.get()  # a slow reader is told of the newest only
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Reply) and event.stopped:
                return
            yield event
            if isinstance(event, Reply):
                return

    def _work(
        self,
        bot: Bot,
        turns: Sequence[str],
        settings: Settings,
        events: "queue.SimpleQueue[Progress | Reply | BaseException]",
        stop: threading.Event,
    ) -> None:
        try:
            events.put(
                bot.respond(
                    turns,
                    controls=settings.controls,
                    seed=settings.seed,
                    sampling=settings.sampling,
                    ranking=settings.ranking,
                    on_progress=events.put,
                    stop=stop,
                )
            )
        except BaseException as error:  # handed to the reader, who would wait for ever
            events.put(error)
        finally:
            self._slot.release()
