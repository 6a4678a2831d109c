"""A scripted bot behind the real handlers and the real store."""

import threading
from concurrent.futures import Future
from html.parser import HTMLParser

import pytest

from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.store import Store
from chatbot.types import Candidate, Progress, Ranking, Reply, Sampling, Trace
from ui import handlers
from ui.handlers import Screen, Service, Visitor
from ui.panel import defaults
from ui.turns import Turns


class ScriptedBot:
    """Says "reply 1", "reply 2", ...; fails or waits when asked to."""

    class Steerer:
        """Reads joy, and nothing else."""

        def shown(self, name, text, language):
            return 0.25 if name == "joy" else None

    def __init__(self):
        self.steerer = self.Steerer()
        self.asked = []
        self.at_step = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def respond(self, turns, *, controls, seed, sampling, ranking, on_progress, stop):
        self.asked.append((list(turns), controls, seed, sampling))
        if turns[-1] == "fail":
            raise RuntimeError("out of <b>memory</b>")
        if turns[-1] == "refuse":
            raise InputError("the message is refused")
        for step in range(3):
            on_progress(Progress(step + 1, 3, sampling.candidates, 0))
            self.at_step.set()
            assert self.go_on.wait(10)
            if stop.is_set():
                break
        return a_reply(f"reply {len(self.asked)}", turns, seed, sampling, stopped=stop.is_set())


def a_reply(text, turns=("Hi!",), seed=None, sampling=None, stopped=False, controls=None):
    candidates = (
        Candidate(text, (6, 7, 2), -3.0, "end", score=-1.0),
        Candidate("another <i>one</i>", (8, 9), -4.0, "length", score=-2.0),
        Candidate("", (2,), -1.0, "end", dropped="empty"),
    )
    trace = Trace(
        model={"name": "tiny", "digest": "d" * 64},
        turns=tuple(turns),
        seed=seed or 11,
        sampling=sampling or Sampling(),
        ranking=Ranking(),
        prompt_ids=(3, 6),
        dropped_turns=2,
        truncated_pieces=0,
        steps=3,
        controls=controls or Controls(),
        notes=("a <u>note</u>",),
    )
    return Reply(text, candidates, trace, seed or 11, {"total": 0.5}, stopped)


def done(bot):
    future = Future()
    future.set_result(bot)
    return future


@pytest.fixture
def bot():
    return ScriptedBot()


@pytest.fixture
def service(bot):
    with Store.in_memory() as store:
        yield Service(Turns(done(bot)), store)


@pytest.fixture
def ann():
    return Visitor("a" * 43)


@pytest.fixture
def bob():
    return Visitor("b" * 43)


@pytest.fixture
def panel():
    """Everything at its default."""
    return defaults()


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture
def answered(service):
    """Waits until no reply is on its way to the open chat; gives the screen back."""

    def answered(screen):
        for _ in range(1000):
            if not service.answers.is_on_its_way(screen.conversation_id):
                return screen
            threading.Event().wait(0.01)
        raise AssertionError("the reply does not come")

    return answered


@pytest.fixture
def say(service, panel, answered):
    """Says things one after the other; gives the screen when the last is answered."""

    def say(visitor, screen, *drafts, **settings):
        for draft in drafts:
            screen, left = handlers.send(service, visitor, screen, draft, panel | settings)
            assert left == ""
            answered(screen)
        return screen

    return say


@pytest.fixture
def again(service, panel, answered):
    """Tries a reply again; gives the screen when it has come."""

    def again(visitor, screen, message_id, **settings):
        screen = handlers.retry(service, visitor, screen, message_id, panel | settings)
        return answered(screen)

    return again


class Parsed(HTMLParser):
    """Tags, attributes and text of a drawing; refuses tags that do not match."""

    def __init__(self, drawn):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(drawn)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in ("input", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def parsed():
    return Parsed
