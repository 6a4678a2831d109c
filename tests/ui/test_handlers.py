"""Laws of what a visitor can do: nothing overwritten, nothing lost, nobody else's chats."""

import json
import re
import threading
from dataclasses import asdict, replace
from html import unescape

import pytest

from chatbot.errors import InputError, StoreError
from chatbot.types import Progress
from ui import answers, handlers
from ui.drawing import status_html
from ui.handlers import Action, Screen, Visitor, read_action, read_visitor
from ui.turns import as_turns


def thread(service, visitor, screen):
    messages = service.store.of(visitor.id).thread(screen.conversation_id)
    return [message.content for message in messages]


def ids(service, visitor, screen):
    return [m.id for m in service.store.of(visitor.id).thread(screen.conversation_id)]


def press(service, visitor, screen, do, about=0, value=""):
    return handlers.on_message(service, visitor, screen, Action(do, about, value))


# -- a turn


def test_a_turn_is_told_of_and_kept(service, ann, screen, panel, bot, answered):
    bot.go_on.clear()
    screen, draft = handlers.send(service, ann, screen, "Hi!", panel)
    assert draft == ""  # the composer is emptied once the message is safe
    assert thread(service, ann, screen) == ["Hi!"]
    assert bot.at_step.wait(10)
    answering, under_way = service.answers.look(ann.id, screen.conversation_id)
    assert under_way == [answering]
    assert answering.asked_id == ids(service, ann, screen)[0]
    bot.go_on.set()
    answered(screen)
    assert thread(service, ann, screen) == ["Hi!", "reply 1"]
    assert service.answers.look(ann.id, screen.conversation_id) == (None, [])
    assert screen.problem == ""


def test_progress_is_told_in_words():
    assert handlers.told("en", Progress(1, 3, 20, 0)) == "20 candidates, token 1 of 3"
    assert handlers.told("en", "waiting").startswith("Waiting for another reply")


def test_the_whole_branch_is_read(ann, screen, say, bot):
    say(ann, screen, "one", "two")
    assert bot.asked[-1][0] == ["one", "reply 1", "two"]


def test_what_one_side_said_in_a_row_is_one_turn(service, ann, screen, say, bot):
    screen = say(ann, screen, "fail", "and now?")
    assert bot.asked[-1][0] == ["fail\nand now?"]
    assert thread(service, ann, screen) == ["fail", "and now?", "reply 2"]


def test_an_empty_message_does_nothing(service, ann, screen, panel):
    assert handlers.send(service, ann, screen, " \n", panel) is None
    assert service.store.of(ann.id).listed() == []


def told(service, screen):
    """What became of the last reply, as words and nothing else."""
    drawn = status_html(screen, service.answers.of(screen.conversation_id))
    return unescape(re.sub("<[^>]*>", "", drawn))


@pytest.mark.parametrize(
    ("draft", "words"), [("fail", "RuntimeError: out of <b>memory</b>"), ("refuse", "is refused")]
)
def test_a_failed_turn_keeps_the_message_and_tells_why(service, ann, screen, say, draft, words):
    screen = say(ann, screen, draft)
    assert words in told(service, screen)
    assert thread(service, ann, screen) == [draft]
    other = handlers.begin(service, ann, Screen())
    assert told(service, other) == ""
    assert words in told(service, handlers.arrive(service, seen(ann, screen)))  # until it is read
    screen = press(service, ann, screen, "inspect", ids(service, ann, screen)[0])
    assert told(service, screen) == ""


def seen(visitor, screen):
    """The visitor whose browser kept the open chat."""
    return replace(visitor, conversation_id=screen.conversation_id)


def test_a_message_that_cannot_be_stored_stays_in_the_composer(service, ann, screen, panel):
    service.store._connection.execute("PRAGMA query_only = ON")
    screen, draft = handlers.send(service, ann, screen, "Hi!", panel)
    assert draft == "Hi!"
    assert "may only be read" in screen.problem


def test_a_reply_that_cannot_be_stored_is_told(service, ann, screen, say, monkeypatch):
    chats = type(service.store.of(ann.id))

    def full(*args, **kwargs):
        raise StoreError("the disk is full")

    monkeypatch.setattr(chats, "add_bot", full)
    screen = say(ann, screen, "Hi!")
    assert told(service, screen) == "the disk is full"
    assert thread(service, ann, screen) == ["Hi!"]


def test_bad_settings_are_told_and_nothing_is_lost(service, ann, screen, panel):
    screen, draft = handlers.send(service, ann, screen, "Hi!", panel | {"candidates": 0})
    assert draft == "Hi!"
    assert "candidates is 0" in screen.problem
    assert screen.conversation_id is None


def test_settings_reach_the_bot_and_the_store(ann, screen, say, bot):
    settings = {"joy": 0.5, "topics": ["game"], "topic_strength": 0.3, "seed": "7"}
    say(ann, screen, "Hi!", **settings, candidates=4)
    _, controls, seed, sampling = bot.asked[0]
    assert controls.strengths == {"joy": 0.5, "game": 0.3}
    assert (seed, sampling.candidates) == (7, 4)


# -- while a reply is made


@pytest.fixture
def in_the_midst(service, panel, bot):
    """Says something to a bot that waits in its first token; gives the screen."""

    def in_the_midst(visitor, screen, draft="Hi!"):
        bot.go_on.clear()
        bot.at_step.clear()
        screen, _ = handlers.send(service, visitor, screen, draft, panel)
        assert bot.at_step.wait(10)
        return screen

    yield in_the_midst
    bot.go_on.set()


def test_stop_ends_the_reply_and_keeps_the_message(
    service, ann, screen, again, in_the_midst, bot, answered
):
    screen = in_the_midst(ann, screen)
    assert handlers.stop(service, screen) is None
    bot.go_on.set()
    answered(screen)
    assert told(service, screen) == "Stopped."
    assert thread(service, ann, screen) == ["Hi!"]
    screen = again(ann, screen, ids(service, ann, screen)[0])
    assert thread(service, ann, screen) == ["Hi!", "reply 2"]
    assert told(service, screen) == ""


def test_stop_after_the_end_gives_a_screen(service, ann, screen, say):
    """As after a lost connection: the page says busy, but nothing is being made."""
    screen = say(ann, screen, "Hi!")
    assert handlers.stop(service, replace(screen, problem="x")) == screen


def test_another_chat_is_read_and_written_meanwhile(
    service, ann, say, panel, in_the_midst, bot, answered
):
    other = say(ann, Screen(), "before")
    first = in_the_midst(ann, Screen(), "slow")
    shown = on_list(service, ann, first, "open", other.conversation_id)
    assert thread(service, ann, shown) == ["before", "reply 1"]
    shown, _ = handlers.send(service, ann, shown, "and here?", panel)
    _, under_way = service.answers.look(ann.id)
    both = [first.conversation_id, other.conversation_id]
    assert [one.conversation_id for one in under_way] == both
    bot.go_on.set()
    for screen in (first, shown):
        answered(screen)
    assert thread(service, ann, first) == ["slow", "reply 2"]
    assert thread(service, ann, shown) == ["before", "reply 1", "and here?", "reply 3"]


def test_a_reply_comes_though_the_page_was_closed(
    service, ann, screen, in_the_midst, bot, answered
):
    screen = in_the_midst(ann, screen)
    back = handlers.arrive(service, seen(ann, screen))
    assert service.answers.is_on_its_way(back.conversation_id)
    bot.go_on.set()
    answered(back)
    assert thread(service, ann, back) == ["Hi!", "reply 1"]


def test_the_branch_that_is_answered_stays_shown(
    service, ann, panel, say, in_the_midst, bot, answered
):
    screen = in_the_midst(ann, say(ann, Screen(), "one"), "two")
    one, reply, two = ids(service, ann, screen)
    assert press(service, ann, screen, "edit", one).editing_id is None
    assert press(service, ann, screen, "version", one) == screen
    assert press(service, ann, screen, "take", reply, "1") == screen
    assert handlers.send(service, ann, screen, "more", panel) is None
    assert "being answered" in handlers.retry(service, ann, screen, two, panel).problem
    assert press(service, ann, screen, "rate", reply, "1").problem == ""
    bot.go_on.set()
    answered(screen)
    assert thread(service, ann, screen) == ["one", "reply 1", "two", "reply 2"]


def test_a_chat_deleted_meanwhile_stays_deleted(service, ann, screen, in_the_midst, bot, answered):
    screen = in_the_midst(ann, screen)
    after = on_list(service, ann, screen, "delete_sure", screen.conversation_id)
    assert after.conversation_id is None
    bot.go_on.set()
    answered(screen)
    assert service.answers.look(ann.id, screen.conversation_id) == (None, [])
    assert service.store.of(ann.id).listed() == []


def test_too_many_replies_at_once_are_refused(service, ann, panel, in_the_midst, monkeypatch):
    monkeypatch.setattr(answers, "AT_ONCE", 1)
    in_the_midst(ann, Screen())
    screen, draft = handlers.send(service, ann, Screen(), "one more", panel)
    assert "try again" in screen.problem
    assert (thread(service, ann, screen), draft) == (["one more"], "")


def test_visitors_wait_for_one_another_and_do_not_mix(
    service, ann, bob, panel, in_the_midst, bot, answered
):
    first = in_the_midst(ann, Screen(), "from ann")
    waiting, _ = handlers.send(service, bob, Screen(), "from bob", panel)
    assert service.answers.look(bob.id, first.conversation_id)[0] is None
    bot.go_on.set()
    for screen in (first, waiting):
        answered(screen)
    assert thread(service, ann, first) == ["from ann", "reply 1"]
    assert thread(service, bob, waiting) == ["from bob", "reply 2"]


# -- branches


def test_retry_draws_beside_with_a_new_seed(service, ann, screen, say, again, bot):
    screen = say(ann, screen, "one", "two")
    first_reply = ids(service, ann, screen)[1]
    screen = again(ann, screen, first_reply, seed="7")
    assert bot.asked[-1][0] == ["one"]
    assert bot.asked[-1][2] is None
    assert thread(service, ann, screen) == ["one", "reply 3"]
    screen = press(service, ann, screen, "version", first_reply)
    assert thread(service, ann, screen) == ["one", "reply 1", "two", "reply 2"]


def test_an_edited_message_is_a_branch(service, ann, screen, say):
    screen = say(ann, screen, "one", "two")
    two = ids(service, ann, screen)[2]
    screen = press(service, ann, screen, "edit", two)
    assert handlers.edited_text(service, ann, screen) == "two"
    screen = say(ann, screen, "zwei")
    assert screen.editing_id is None
    assert thread(service, ann, screen) == ["one", "reply 1", "zwei", "reply 3"]
    screen = press(service, ann, screen, "version", two)
    assert thread(service, ann, screen) == ["one", "reply 1", "two", "reply 2"]


def test_an_edited_reply_needs_no_bot(service, ann, screen, say, panel, bot):
    screen = say(ann, screen, "one")
    screen = press(service, ann, screen, "edit", ids(service, ann, screen)[1])
    screen, draft = handlers.send(service, ann, screen, "better", panel)
    assert draft == ""
    assert thread(service, ann, screen) == ["one", "better"]
    assert len(bot.asked) == 1


def test_leaving_an_edit_changes_nothing(service, ann, screen, say):
    screen = say(ann, screen, "one")
    screen = press(service, ann, screen, "edit", ids(service, ann, screen)[0])
    assert handlers.leave_edit(service, ann, screen).editing_id is None
    assert thread(service, ann, screen) == ["one", "reply 1"]


def test_another_candidate_can_be_the_reply(service, ann, screen, say):
    screen = say(ann, screen, "one")
    given = ids(service, ann, screen)[1]
    screen = press(service, ann, screen, "take", given, "1")
    assert thread(service, ann, screen) == ["one", "another <i>one</i>"]
    taken = ids(service, ann, screen)[1]
    assert screen.inspected_id == taken
    screen = press(service, ann, screen, "take", taken, "0")  # the first one is there already
    assert ids(service, ann, screen)[1] == given
    assert press(service, ann, screen, "take", given, "9").problem.startswith("this reply has no")


def test_a_rating_is_toggled(service, ann, screen, say):
    screen = say(ann, screen, "one")
    reply = ids(service, ann, screen)[1]
    ratings = []
    for value in ("1", "-1", "-1"):
        screen = press(service, ann, screen, "rate", reply, value)
        ratings.append(service.store.of(ann.id).message(reply).rating)
    assert ratings == [1, -1, 0]


# -- conversations


def on_list(service, visitor, screen, do, about=0, value=""):
    return handlers.on_conversation(service, visitor, screen, Action(do, about, value))


def test_the_list_opens_renames_and_deletes(service, ann, screen, say):
    first = say(ann, screen, "one").conversation_id
    screen = say(ann, handlers.begin(service, ann, screen), "two")
    screen = on_list(service, ann, screen, "open", first)
    assert screen.conversation_id == first
    assert on_list(service, ann, screen, "rename", first).renaming_id == first
    screen = on_list(service, ann, screen, "name", first, "My chat")
    assert service.store.of(ann.id).get(first).title == "My chat"
    assert on_list(service, ann, screen, "delete", first).deleting_id == first
    assert len(service.store.of(ann.id).listed()) == 2  # not before the yes
    screen = on_list(service, ann, screen, "delete_sure", first)
    assert screen.conversation_id is None
    assert [one.title for one in service.store.of(ann.id).listed()] == ["two"]
    more = on_list(service, ann, screen, "more", 0)
    assert more.listed == 2 * handlers.LISTED
    assert handlers.look_for(service, ann, more, "two").listed == handlers.LISTED


def test_a_chat_deleted_in_another_window_is_told(service, ann, screen, say, panel):
    screen = say(ann, screen, "one")
    service.store.of(ann.id).delete(screen.conversation_id)
    end, _ = handlers.send(service, ann, screen, "two", panel)
    assert "it may be deleted" in end.problem
    assert "it may be deleted" in on_list(service, ann, screen, "open", 1).problem


def test_export_and_import(service, ann, bob, screen, say, tmp_path):
    say(ann, screen, "one")
    file = tmp_path / "chats.jsonl"
    lines = handlers.take_out(service, ann)
    file.write_text(lines, encoding="utf-8")
    screen = handlers.bring_in(service, bob, Screen(), file)
    assert screen.notice == "Chats imported: 1."
    assert thread(service, bob, screen) == ["one", "reply 1"]


def test_lines_end_only_at_line_ends(service, ann, screen, tmp_path):
    """U+2028 ends a line for Python's `splitlines`, but may stand in JSON."""
    file = tmp_path / "chats.jsonl"
    line = {"messages": [{"role": "user", "content": "a\u2028b\x85c"}]}
    file.write_text(json.dumps(line, ensure_ascii=False) + "\r\n", encoding="utf-8")
    screen = handlers.bring_in(service, ann, screen, file)
    assert thread(service, ann, screen) == ["a\u2028b\x85c"]


@pytest.mark.parametrize(("content", "words"), [(b"{}", "line 1"), (b"\xff\xfe", "UTF-8")])
def test_a_bad_import_is_told(service, ann, screen, tmp_path, content, words):
    file = tmp_path / "chats.jsonl"
    file.write_bytes(content)
    screen = handlers.bring_in(service, ann, screen, file)
    assert screen.problem.startswith("Nothing was imported.")
    assert screen.told_in == "chats"
    assert words in screen.problem


# -- visitors


def test_visitors_do_not_reach_each_other(service, ann, bob, screen, say, panel):
    open_screen = say(ann, screen, "secret")
    message = ids(service, ann, open_screen)[1]
    for do in ("edit", "inspect", "take", "rate", "version"):
        assert "no message" in press(service, bob, Screen(), do, message, "0").problem
    for do in ("open", "rename", "name", "delete", "delete_sure"):
        found = on_list(service, bob, Screen(), do, open_screen.conversation_id, "x").problem
        assert "no conversation" in found
    stolen, _ = handlers.send(service, bob, open_screen, "mine", panel)
    assert "no conversation" in stolen.problem
    assert "no message" in handlers.retry(service, bob, Screen(), message, panel).problem
    assert handlers.take_out(service, bob) == ""
    assert thread(service, ann, open_screen) == ["secret", "reply 1"]


def test_a_reload_restores_the_chat(service, ann, screen, say):
    screen = say(ann, screen, "one")
    kept = json.loads(json.dumps(asdict(replace(ann, conversation_id=screen.conversation_id))))
    back = handlers.arrive(service, read_visitor(kept))
    assert thread(service, ann, back) == ["one", "reply 1"]
    service.store.of(ann.id).delete(screen.conversation_id)
    assert handlers.arrive(service, read_visitor(kept)).conversation_id is None


@pytest.mark.parametrize(
    "kept",
    [None, "x", [], {}, {"id": None}, {"id": ""}, {"id": "short"}, {"id": "x" * 65},
     {"id": ["a"] * 43}, {"id": "'; DROP TABLE messages; --" * 2}],
)  # fmt: skip
def test_a_browser_that_says_nothing_we_wrote_is_somebody_new(kept):
    first, second = read_visitor(kept), read_visitor(kept)
    assert first.id != second.id
    assert len(first.id) >= 43


def test_only_the_sound_parts_of_what_a_browser_kept_are_used():
    kept = {"id": "a" * 43, "conversation_id": "1", "language": "xx"}
    assert read_visitor(kept) == Visitor("a" * 43, None, "en")
    assert read_visitor(kept | {"conversation_id": 2**70}).conversation_id is None
    assert read_visitor(None, "ko-KR,ko;q=0.9,en;q=0.8").language == "ko"
    assert read_visitor(None, "fr,en;q=0.8").language == "en"


@pytest.mark.parametrize(
    "data",
    [None, "edit", {}, {"do": 1, "id": "1", "value": ""}, {"do": "edit", "id": "x", "value": ""},
     {"do": "edit", "id": "9" * 30, "value": ""}, {"do": "edit", "id": "-1", "value": ""},
     {"do": "edit", "id": "²", "value": ""}, {"do": "edit", "id": 1, "value": ""}],
)  # fmt: skip
def test_events_that_are_none_of_ours_are_refused(data):
    with pytest.raises(InputError, match="reload the page"):
        read_action(data)


def test_unknown_actions_are_told(service, ann, screen, say):
    screen = say(ann, screen, "one")
    assert "unknown" in press(service, ann, screen, "fly", ids(service, ann, screen)[0]).problem
    assert "unknown" in on_list(service, ann, screen, "fly").problem
    assert "unknown" in handlers.speak(service, ann, screen, "xx").problem


def test_turns_of_an_imported_chat(service, ann):
    lines = [{"role": role, "content": role[0]} for role in ("assistant", "user", "user")]
    (chat,) = service.store.of(ann.id).import_lines([json.dumps({"messages": lines})])
    assert as_turns(service.store.of(ann.id).thread(chat)) == ["a", "u\nu"]


def test_many_visitors_at_once(service, say):
    def talk(name):
        visitor, screen = Visitor(name * 43), Screen()
        for i in range(3):
            screen = say(visitor, screen, f"{name}{i}")
        said = thread(service, visitor, screen)
        assert said[::2] == [f"{name}{i}" for i in range(3)]
        assert len(said) == 6
        told.append(name)

    told = []
    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(told) == list("abcd")
