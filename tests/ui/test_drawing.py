"""Laws of the drawings: words are never HTML, and everything drawn was stored."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from ui import drawing, handlers
from ui.handlers import Action, Screen
from ui.texts import LANGUAGES

NASTY = (
    '<script>alert(1)</script><img src=x onerror="alert(2)">'
    "</div></article>\" onclick='x' ${alert(3)} {{value}} &lt;b&gt; `x`"
)


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
        if tag not in ("input", "path", "rect", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "rect"):
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def is_harmless(parsed):
    return not {"script", "img", "b onmouseover"} & set(parsed.tags) and not any(
        name.startswith("on") for name in parsed.attributes
    )


@pytest.fixture
def chats(service, ann):
    return service.store.of(ann.id)


@pytest.fixture
def nasty(service, ann, panel, chats):
    """A screen on a conversation where everything that can be written is nasty."""
    steps = handlers.send(service, ann, Screen(), NASTY, panel)
    screen = list(steps)[-1][0]
    chats.rename(screen.conversation_id, NASTY)
    (line,) = chats.export_lines()
    record = json.loads(line)
    reply = record["messages"][1]["reply"]
    reply["candidates"][0]["text"] = reply["candidates"][1]["text"] = NASTY
    reply["trace"]["model"] = {"name": NASTY, "digest": NASTY}
    reply["trace"]["notes"] = [NASTY]
    reply["timings"] = {NASTY: 1.0}
    record["messages"][1]["content"] = NASTY
    record["title"] = NASTY
    path = chats.import_lines([json.dumps(record)])[0]
    inspected = chats.thread(path)[1].id
    return Screen(conversation_id=path, inspected_id=inspected, problem=NASTY, notice=NASTY)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_written_is_never_html(chats, nasty, language):
    screen = replace(nasty, language=language)
    first = chats.listed()[0].id
    drawn = [
        drawing.conversation_html(chats, screen),
        drawing.list_html(chats, screen),
        drawing.list_html(chats, replace(screen, renaming_id=first)),
        drawing.inspector_html(chats, screen),
        drawing.status_html(screen),
        drawing.status_html(replace(screen, problem="")),
        drawing.status_html(replace(screen, answering_id=1, progress=NASTY)),
    ]
    for one in drawn:
        parsed = Parsed(one)
        assert is_harmless(parsed)
    for one in (drawn[0], drawn[3], drawn[4]):
        assert NASTY in Parsed(one).text  # shown as it was written


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_screen_is_whole_html(service, ann, panel, chats, language):
    screens = [Screen(language=language), Screen(language=language, conversation_id=99)]
    steps = handlers.send(service, ann, screens[0], "Hi!", panel)
    screens += [screen for screen, _ in steps]
    screens.append(replace(screens[-1], deleting_id=screens[-1].conversation_id))
    screens.append(replace(screens[-1], search="nothing like it"))
    for screen in screens:
        for draw in (drawing.conversation_html, drawing.list_html, drawing.inspector_html):
            Parsed(draw(chats, screen))
        Parsed(drawing.status_html(screen))


def test_the_inspector_shows_what_was_stored(service, ann, panel, chats):
    screen = list(handlers.send(service, ann, Screen(), "Hi!", panel))[-1][0]
    told = Parsed(drawing.inspector_html(chats, screen)).text
    for expected in ("reply 1", "another <i>one</i>", "says nothing", "a <u>note</u>", "1.00",
                     "Chosen", "cut at the longest length", "2 older turns left out", "11",
                     "0.50 s", "tiny", "d" * 12):  # fmt: skip
        assert expected in told
    screen = handlers.on_message(service, ann, screen, Action("take", screen.inspected_id, "1"))
    assert "Chosen by you" in Parsed(drawing.inspector_html(chats, screen)).text


def test_steering_is_drawn_from_the_trace(service, ann, panel, chats):
    screen = list(handlers.send(service, ann, Screen(), "Hi!", panel))[-1][0]
    (line,) = chats.export_lines()
    record = json.loads(line)
    record["messages"][1]["reply"]["trace"]["steering"] = {
        "mode": "hidden",
        "share": 1.0,
        "attributes": {
            "joy": {"strength": 0.8, "language": "en", "digest": "", "wanted": 1.6,
                    "realised": 1.0, "words": ["great"]},
        },
        "tokens": [
            {"before": {"joy": 0.1}, "after": {"joy": 0.4}, "price": {"joy": 1.0}, "kl": 0.1},
            {"before": {}, "after": {}, "price": {}, "kl": 0.0},
        ],
    }  # fmt: skip
    (path,) = chats.import_lines([json.dumps(record)])
    screen = replace(screen, inspected_id=chats.thread(path)[1].id)
    drawn = drawing.inspector_html(chats, screen)
    told = Parsed(drawn).text
    assert "Joy" in told
    assert "great" in told
    assert "1.00 / 1.60" in told
    assert drawn.count("<rect") == 2


def test_a_message_nobody_drew_is_said_to_be_so(chats):
    conversation = chats.create().id
    written = chats.add_bot(conversation, "x", parent_id=None)
    screen = Screen(conversation_id=conversation, inspected_id=written)
    assert "nothing to tell" in drawing.inspector_html(chats, screen)
    assert "Choose a reply" in drawing.inspector_html(chats, Screen())


def test_an_unanswered_message_offers_another_try(service, ann, panel, chats):
    screen = list(handlers.send(service, ann, Screen(), "fail", panel))[-1][0]
    drawn = drawing.conversation_html(chats, screen)
    assert "No reply yet." in drawn
    assert 'data-do="retry"' in drawn


def test_versions_can_be_reached(service, ann, panel, chats):
    screen = list(handlers.send(service, ann, Screen(), "Hi!", panel))[-1][0]
    first = screen.inspected_id
    screen = list(handlers.retry(service, ann, screen, first, panel))[-1][0]
    drawn = drawing.conversation_html(chats, screen)
    assert "2/2" in drawn
    assert f'data-do="version" data-id="{first}"' in drawn
