"""Laws of the drawings: words are never HTML, and everything drawn was stored."""

import json
from dataclasses import replace

import pytest

from chatbot.types import Progress
from ui import drawing, handlers, inspector
from ui.answers import Answering
from ui.handlers import Action, Screen
from ui.texts import LANGUAGES

NASTY = (
    '<script>alert(1)</script><img src=x onerror="alert(2)">'
    "</div></article>\" onclick='x' ${alert(3)} {{value}} &lt;b&gt; `x`"
)


def is_harmless(parsed):
    return not {"script", "img", "b onmouseover"} & set(parsed.tags) and not any(
        name.startswith("on") for name in parsed.attributes
    )


@pytest.fixture
def chats(service, ann):
    return service.store.of(ann.id)


def steering(name, text=NASTY, strength=0.8, reading=None):
    """A stored trace of one attribute over two tokens."""
    return {
        "mode": "hidden",
        "share": 1.0,
        "attributes": {
            name: {"strength": strength, "language": "en", "digest": "", "wanted": 1.6,
                   "realised": 1.0, "words": [text], "reading": reading},
        },
        "tokens": [
            {"before": {name: 0.1}, "after": {name: 0.4}, "price": {name: 1.0}, "kl": 0.1,
             "gain": 1.0, "text": text},
            {"before": {}, "after": {}, "price": {}, "kl": 0.0, "gain": -9.0, "text": "<b>"},
        ],
    }  # fmt: skip


@pytest.fixture
def nasty(ann, chats, say):
    """A screen on a conversation where everything that can be written is nasty."""
    screen = say(ann, Screen(), NASTY)
    chats.rename(screen.conversation_id, NASTY)
    (line,) = chats.export_lines()
    record = json.loads(line)
    reply = record["messages"][1]["reply"]
    reply["candidates"][0]["text"] = reply["candidates"][1]["text"] = NASTY
    reply["trace"]["model"] = {"name": NASTY, "digest": NASTY}
    reply["trace"] |= {"notes": [NASTY], "topics": {NASTY: 0.5}, "steering": steering(NASTY)}
    reply["trace"]["rules"] = [
        {"name": NASTY, "detector": NASTY, "probability": 0.9, "threshold": 0.5, "reason": NASTY,
         "change": {"set": {NASTY: 1.0}, "aside": [NASTY]}}
    ]  # fmt: skip
    reply["candidates"][1] |= {
        "dropped": "rejected",
        "verdict": {"risk": 0.9, "category": NASTY, "nearest": NASTY, "similarity": 0.5,
                    "reason": NASTY, "accepted": False},
    }  # fmt: skip
    reply["timings"] = {NASTY: 1.0}
    record["messages"][1]["content"] = reply["text"] = NASTY
    record["title"] = NASTY
    path = chats.import_lines([json.dumps(record)])[0]
    inspected = chats.thread(path)[1].id
    return Screen(conversation_id=path, inspected_id=inspected, problem=NASTY, notice=NASTY)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_written_is_never_html(chats, nasty, language, parsed):
    screen = replace(nasty, language=language)
    first = chats.listed()[0].id
    drawn = [
        drawing.conversation_html(chats, screen),
        drawing.list_html(chats, screen),
        drawing.list_html(chats, replace(screen, renaming_id=first)),
        inspector.inspector_html(chats, screen),
        drawing.status_html(screen),
        drawing.status_html(replace(screen, problem="")),
        drawing.status_html(screen, Answering(1, "a", 1, 1, "broke", NASTY)),
    ]
    for one in drawn:
        assert is_harmless(parsed(one))
    for one in (drawn[0], drawn[3], drawn[4]):
        assert NASTY in parsed(one).text  # shown as it was written


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_screen_is_whole_html(ann, chats, language, parsed, say):
    screens = [Screen(language=language), Screen(language=language, conversation_id=99)]
    screens.append(say(ann, screens[0], "Hi!"))
    screens.append(replace(screens[-1], deleting_id=screens[-1].conversation_id))
    screens.append(replace(screens[-1], search="nothing like it"))
    for screen in screens:
        for draw in (drawing.conversation_html, drawing.list_html, inspector.inspector_html):
            parsed(draw(chats, screen))
        parsed(drawing.status_html(screen))


def test_the_inspector_shows_what_was_stored(service, ann, chats, parsed, say):
    screen = say(ann, Screen(), "Hi!")
    told = parsed(inspector.inspector_html(chats, screen)).text
    for expected in ("reply 1", "another <i>one</i>", "says nothing", "a <u>note</u>",
                     "\N{MINUS SIGN}1.00",
                     "Chosen", "cut at the longest length", "older turns left out: 2", "11",
                     "0.50 s", "tiny", "d" * 12):  # fmt: skip
        assert expected in told
    reply_id = chats.thread(screen.conversation_id)[-1].id
    screen = handlers.on_message(service, ann, screen, Action("take", reply_id, "1"))
    assert "Chosen by you" in parsed(inspector.inspector_html(chats, screen)).text


def test_steering_is_drawn_from_the_trace(ann, chats, parsed, say):
    screen = say(ann, Screen(), "Hi!")
    (line,) = chats.export_lines()
    record = json.loads(line)
    record["messages"][1]["reply"]["trace"]["steering"] = steering("joy", " great")
    (path,) = chats.import_lines([json.dumps(record)])
    screen = replace(screen, inspected_id=chats.thread(path)[1].id)
    drawn = inspector.inspector_html(chats, screen)
    told = parsed(drawn).text
    for expected in ("Joy", "list words 1.0 (asked 1.6):  great", "0.80", " great<b>"):
        assert expected in told
    told = "2.72\N{MULTIPLICATION SIGN} as likely as without steering; moved 0.10 nats; "
    assert f'style="--gain:50%" title="{told}Joy 0.100 → 0.400"' in drawn
    assert 'class="token less" style="--gain:100%"' in drawn


def test_what_the_controls_did_stands_under_the_reply(ann, chats, parsed, say):
    screen = say(ann, Screen(), "Hi!")
    message = chats.thread(screen.conversation_id)[-1]
    record = message.reply
    record["trace"] |= {
        "steering": steering("joy", "great", reading=0.75), "rules": [{"name": "politics"}],
        "notes": ["joy had no effect: none of its words came."],
    }  # fmt: skip

    def told(content, language="en"):
        added = chats.add_bot(
            message.conversation_id, content, parent_id=message.parent_id, reply=record
        )
        drawn = drawing.conversation_html(chats, replace(screen, language=language))
        assert f'class="effects" data-do="inspect" data-id="{added}"' in drawn
        return parsed(drawn).text

    own = told("reply 1")
    for part in ("Joy 0.80, shown 0.75", "Topic rule: Politics", "joy had no effect"):
        assert part in own
    assert "기쁨 효과 없음: 해당 단어가 나오지 않았습니다." in told("reply 1", "ko")
    another = told("another one")  # which the trace does not tell of
    assert "Joy 0.80" in another
    assert "Chosen by you" in another
    assert "shown" not in another
    assert "no effect" not in another


def test_a_plain_reply_has_nothing_under_it(ann, chats, say):
    screen = say(ann, Screen(), "Hi!")
    message = chats.thread(screen.conversation_id)[-1]
    plain = message.reply
    plain["trace"]["notes"] = []
    chats.add_bot(
        message.conversation_id, message.content, parent_id=message.parent_id, reply=plain
    )
    assert "effects" not in drawing.conversation_html(chats, screen)


def test_what_happened_is_told_where_it_was_done(chats, parsed):
    for place, is_here in (("conversation", (True, False)), ("chats", (False, True))):
        for told in ({"problem": "Not <b>so</b>"}, {"notice": "Not <b>so</b>"}):
            screen = Screen(told_in=place, **told)
            drawn = drawing.status_html(screen), drawing.list_html(chats, screen)
            assert tuple("Not <b>so</b>" in parsed(one).text for one in drawn) == is_here


def test_progress_is_seen_in_its_own_chat_and_marked_in_the_list(chats, parsed):
    open_id, other_id = chats.create("Open").id, chats.create("Other").id
    screen = Screen(conversation_id=open_id)
    under_way = [
        Answering(1, "a", open_id, 1, Progress(3, 40, 20, 0)),
        Answering(2, "a", other_id, 2, "waiting"),
    ]
    drawn = drawing.progress_html(under_way, "en")
    assert "token 3 of 40" in parsed(drawn).text
    assert "Waiting for another reply" in parsed(drawn).text
    rule = drawing.status_html(screen, under_way[0])
    assert f'data-chat="{open_id}"' in rule
    assert f'data-chat="{other_id}"' not in rule
    assert drawing.status_html(screen) == drawing.notice("")
    listed = drawing.list_html(chats, screen, {other_id})
    assert listed.count("Being answered") == 2  # title and name of one mark


def test_a_long_list_is_drawn_in_parts(chats, parsed):
    for number in range(handlers.LISTED + 3):
        chats.create(f"Chat {number}.")
    told = parsed(drawing.list_html(chats, Screen())).text
    assert "Chat 3." in told
    assert "Chat 2." not in told
    assert "Show more (3)" in told
    more = drawing.list_html(chats, Screen(listed=2 * handlers.LISTED))
    assert "Chat 0." in parsed(more).text
    assert "Show more" not in more


def test_a_message_nobody_drew_is_said_to_be_so(chats):
    conversation = chats.create().id
    written = chats.add_bot(conversation, "x", parent_id=None)
    screen = Screen(conversation_id=conversation, inspected_id=written)
    assert "nothing to tell" in inspector.inspector_html(chats, screen)
    assert "Choose a reply" in inspector.inspector_html(chats, Screen())


def test_an_unanswered_message_offers_another_try(ann, chats, say):
    screen = say(ann, Screen(), "fail")
    drawn = drawing.conversation_html(chats, screen)
    assert "No reply yet" in drawn
    assert 'data-do="retry"' in drawn


def test_versions_can_be_reached(ann, chats, say, again):
    screen = say(ann, Screen(), "Hi!")
    first = chats.thread(screen.conversation_id)[-1].id
    screen = again(ann, screen, first)
    drawn = drawing.conversation_html(chats, screen)
    assert "2/2" in drawn
    assert f'data-do="version" data-id="{first}"' in drawn


def with_steering(chats, screen, *traces):
    """The open conversation anew, its replies steered so; gives a screen on its last reply."""
    (line,) = chats.export_lines([screen.conversation_id])
    record = json.loads(line)
    for message, trace in zip(record["messages"][1::2], traces, strict=True):
        message["reply"]["trace"]["steering"] = trace
    (path,) = chats.import_lines([json.dumps(record)])
    inspected = chats.thread(path)[-1].id
    return replace(screen, conversation_id=path, inspected_id=inspected)


def test_asked_and_read_are_drawn_over_the_turns(ann, chats, parsed, say):
    screen = Screen()
    for said in ("one", "two", "three"):
        screen = say(ann, screen, said)
    traces = [steering("joy", "x", 0.2, 0.5), None, steering("joy", "x", -0.6, 0.9)]
    screen = with_steering(chats, screen, *traces)
    drawn = inspector.inspector_html(chats, screen)
    assert "Over the turns" in parsed(drawn).text
    plot = drawn[drawn.index('<svg class="plot"') :]
    asked, read = plot[plot.index('<g class="dashed"') :].split("<g ")[1:3]
    assert asked.count("L") == 2  # three turns, the unsteered one asked nothing
    assert read.count("<circle") == 2  # nothing was read in the unsteered one


def test_rules_verdicts_and_outcome_are_told(ann, chats, parsed, say):
    screen = say(ann, Screen(), "Hi!")
    (line,) = chats.export_lines()
    record = json.loads(line)
    reply = record["messages"][1]["reply"]
    reply["trace"]["outcome"] = "regenerated"
    reply["trace"]["rules"] = [
        {"name": "politics", "detector": "politics", "probability": 0.87, "threshold": 0.5,
         "reason": "It takes no side.", "change": {"set": {"neutral": 1.0}, "aside": ["joy"]}}
    ]  # fmt: skip
    verdict = {"risk": 0.91, "category": "insult", "nearest": "near", "similarity": 0.8,
               "reason": "like_example", "accepted": False}  # fmt: skip
    reply["candidates"][1] |= {"dropped": "rejected", "verdict": verdict}
    reply["candidates"][0]["verdict"] = {**verdict, "risk": 0.02, "accepted": True}
    (path,) = chats.import_lines([json.dumps(record)])
    bot = chats.thread(path)[1]
    told = parsed(inspector.inspector_html(chats, replace(screen, inspected_id=bot.id))).text
    for expected in ("drawn again, held neutral", "Politics 0.87 ≥ 0.50: It takes no side.",
                     "Sets Neutral 1.00. Leaves out Joy.", "rejected by the ethics filter",
                     "like an unethical example", "0.91",
                     "highest score: \N{MINUS SIGN}1.00 log p \N{MINUS SIGN} 2.0"):  # fmt: skip
        assert expected in told
    take = parsed(inspector.inspector_html(chats, replace(screen, inspected_id=bot.id)))
    assert "Use this reply" not in take.text  # the other one was rejected


def test_a_reply_of_an_older_version_is_drawn(ann, chats, parsed, say):
    screen = say(ann, Screen(), "Hi!")
    message = chats.thread(screen.conversation_id)[-1]
    record = message.reply
    for name in ("rules", "topics", "outcome", "steered_by"):
        del record["trace"][name]
    for candidate in record["candidates"]:
        del candidate["verdict"]
    added = chats.add_bot(
        message.conversation_id, message.content, parent_id=message.parent_id, reply=record
    )
    assert "reply 1" in parsed(inspector.inspector_html(chats, Screen(inspected_id=added))).text
