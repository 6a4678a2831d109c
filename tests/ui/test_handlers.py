"""Laws of what a visitor can do: nothing overwritten, nothing lost, nobody else's chats."""

import json
import threading
from dataclasses import asdict, replace

import pytest

from chatbot.errors import InputError, StoreError
from ui import handlers
from ui.handlers import Action, Screen, Visitor, as_turns, read_action, read_visitor


def last(steps):
    """The screen at the end of a turn."""
    return list(steps)[-1][0]


def thread(service, visitor, screen):
    messages = service.store.of(visitor.id).thread(screen.conversation_id)
    return [message.content for message in messages]


@pytest.fixture
def say(service, panel):
    def say(visitor, screen, *drafts):
        for draft in drafts:
            screen = last(handlers.send(service, visitor, screen, draft, panel))
        return screen

    return say


def ids(service, visitor, screen):
    return [m.id for m in service.store.of(visitor.id).thread(screen.conversation_id)]


def press(service, visitor, screen, do, about=0, value=""):
    return handlers.on_message(service, visitor, screen, Action(do, about, value))


# -- a turn


def test_a_turn_is_told_of_step_by_step_and_stored(service, ann, screen, panel, bot):
    steps = handlers.send(service, ann, screen, "Hi!", panel)
    first, draft = next(steps)
    assert draft == ""  # the composer is emptied once the message is safe
    assert first.answering_id == ids(service, ann, first)[0]
    bot.go_on.clear()
    told = next(screen for screen, _ in steps if screen.part)
    assert told.progress == "20 candidates, token 1 of 3"
    bot.go_on.set()
    *_, (end, draft) = steps
    assert (end.answering_id, end.problem, draft) == (None, "", None)
    assert thread(service, ann, end) == ["Hi!", "reply 1"]
    assert end.inspected_id == ids(service, ann, end)[-1]


def test_the_message_is_stored_before_the_reply_is_begun(service, ann, screen, panel, bot):
    steps = handlers.send(service, ann, screen, "Hi!", panel)
    first, _ = next(steps)
    assert bot.asked == []
    assert thread(service, ann, first) == ["Hi!"]
    steps.close()
    assert thread(service, ann, first) == ["Hi!"]


def test_the_whole_branch_is_read(service, ann, screen, say, bot):
    say(ann, screen, "one", "two")
    assert bot.asked[-1][0] == ["one", "reply 1", "two"]


def test_what_one_side_said_in_a_row_is_one_turn(service, ann, screen, say, bot):
    screen = say(ann, screen, "fail", "and now?")
    assert bot.asked[-1][0] == ["fail\nand now?"]
    assert thread(service, ann, screen) == ["fail", "and now?", "reply 2"]


def test_an_empty_message_does_nothing(service, ann, screen, panel):
    assert list(handlers.send(service, ann, screen, " \n", panel)) == []
    assert service.store.of(ann.id).listed() == []


@pytest.mark.parametrize(
    ("draft", "words"), [("fail", "RuntimeError: out of <b>memory</b>"), ("refuse", "is refused")]
)
def test_a_failed_turn_keeps_the_message_and_tells_why(service, ann, screen, say, draft, words):
    screen = say(ann, screen, draft)
    assert words in screen.problem
    assert screen.answering_id is None
    assert thread(service, ann, screen) == [draft]


def test_a_message_that_cannot_be_stored_stays_in_the_composer(service, ann, screen, panel):
    service.store._connection.execute("PRAGMA query_only = ON")
    ((screen, draft),) = handlers.send(service, ann, screen, "Hi!", panel)
    assert draft == "Hi!"
    assert "may only be read" in screen.problem


def test_a_reply_that_cannot_be_stored_is_told(service, ann, screen, panel, monkeypatch):
    chats = type(service.store.of(ann.id))

    def full(*args, **kwargs):
        raise StoreError("the disk is full")

    monkeypatch.setattr(chats, "add_bot", full)
    screen = last(handlers.send(service, ann, screen, "Hi!", panel))
    assert screen.problem == "the disk is full"
    assert thread(service, ann, screen) == ["Hi!"]


def test_bad_settings_are_told_and_nothing_is_lost(service, ann, screen, panel):
    steps = handlers.send(service, ann, screen, "Hi!", panel | {"candidates": 0})
    ((screen, draft),) = steps
    assert draft == "Hi!"
    assert "candidates is 0" in screen.problem
    assert screen.conversation_id is None


def test_settings_reach_the_bot_and_the_store(service, ann, screen, panel, bot):
    panel |= {"joy": 0.5, "topics": ["game"], "topic_strength": 0.3, "seed": "7", "candidates": 4}
    last(handlers.send(service, ann, screen, "Hi!", panel))
    _, controls, seed, sampling = bot.asked[0]
    assert controls.strengths == {"joy": 0.5, "game": 0.3}
    assert (seed, sampling.candidates) == (7, 4)


# -- stopping


def in_the_midst(service, visitor, screen, panel, bot, draft="Hi!"):
    """A turn whose bot waits in its first token; its steps so far are taken."""
    bot.go_on.clear()
    steps = handlers.send(service, visitor, screen, draft, panel)
    for screen, _ in steps:
        if screen.part:
            return steps, screen
    raise AssertionError("no progress")


def test_stop_ends_the_reply_and_keeps_the_message(service, ann, screen, panel, bot):
    steps, screen = in_the_midst(service, ann, screen, panel, bot)
    assert handlers.stop(service, screen) is None
    bot.go_on.set()
    end = last(steps)
    assert end.answering_id is None
    assert end.notice == "Stopped."
    assert thread(service, ann, end) == ["Hi!"]
    again = last(handlers.retry(service, ann, end, ids(service, ann, end)[0], panel))
    assert thread(service, ann, again) == ["Hi!", "reply 2"]


def test_stop_after_the_end_frees_the_screen(service, screen):
    """As after a lost connection: the screen says busy, but nothing is being made."""
    screen = handlers.stop(service, replace(screen, answering_id=5, progress="..."))
    assert screen.answering_id is None


def test_a_closed_page_ends_the_work(service, ann, screen, panel, bot):
    steps, screen = in_the_midst(service, ann, screen, panel, bot)
    steps.close()
    bot.go_on.set()
    end = last(handlers.send(service, ann, Screen(), "next", panel))  # the slot is free
    assert thread(service, ann, end) == ["next", "reply 2"]
    assert service.turns._stops == {}


def test_nothing_else_is_done_while_a_reply_is_made(service, ann, screen, panel, bot):
    steps, screen = in_the_midst(service, ann, screen, panel, bot)
    asked = screen.answering_id
    assert press(service, ann, screen, "edit", asked) is None
    assert handlers.begin(service, ann, screen) is None
    opened = Action("delete_sure", screen.conversation_id)
    assert handlers.on_conversation(service, ann, screen, opened) is None
    assert list(handlers.send(service, ann, screen, "more", panel)) == []
    assert list(handlers.retry(service, ann, screen, asked, panel)) == []
    bot.go_on.set()
    assert thread(service, ann, last(steps)) == ["Hi!", "reply 1"]


def test_another_window_cannot_answer_the_same_message_twice(service, ann, screen, panel, bot):
    steps, screen = in_the_midst(service, ann, screen, panel, bot)
    window = Screen(conversation_id=screen.conversation_id)
    end = last(handlers.retry(service, ann, window, screen.answering_id, panel))
    assert "being answered already" in end.problem
    bot.go_on.set()
    assert thread(service, ann, last(steps)) == ["Hi!", "reply 1"]


def test_visitors_wait_for_one_another_and_do_not_mix(service, ann, bob, panel, bot):
    steps, _ = in_the_midst(service, ann, Screen(), panel, bot, "from ann")
    waiting = handlers.send(service, bob, Screen(), "from bob", panel)
    next(waiting)
    told, _ = next(waiting)
    assert told.progress.startswith("Waiting for another reply")
    bot.go_on.set()
    assert thread(service, ann, last(steps)) == ["from ann", "reply 1"]
    assert thread(service, bob, last(waiting)) == ["from bob", "reply 2"]


# -- branches


def test_retry_draws_beside_with_a_new_seed(service, ann, screen, say, panel, bot):
    screen = say(ann, screen, "one", "two")
    first_reply = ids(service, ann, screen)[1]
    locked = panel | {"seed": "7"}
    screen = last(handlers.retry(service, ann, screen, first_reply, locked))
    assert bot.asked[-1][0] == ["one"]
    assert bot.asked[-1][2] is None
    assert thread(service, ann, screen) == ["one", "reply 3"]
    screen = press(service, ann, screen, "version", first_reply)
    assert thread(service, ann, screen) == ["one", "reply 1", "two", "reply 2"]


def test_an_edited_message_is_a_branch(service, ann, screen, say, panel):
    screen = say(ann, screen, "one", "two")
    two = ids(service, ann, screen)[2]
    screen = press(service, ann, screen, "edit", two)
    assert handlers.edited_text(service, ann, screen) == "two"
    screen = last(handlers.send(service, ann, screen, "zwei", panel))
    assert screen.editing_id is None
    assert thread(service, ann, screen) == ["one", "reply 1", "zwei", "reply 3"]
    screen = press(service, ann, screen, "version", two)
    assert thread(service, ann, screen) == ["one", "reply 1", "two", "reply 2"]


def test_an_edited_reply_needs_no_bot(service, ann, screen, say, panel, bot):
    screen = say(ann, screen, "one")
    screen = press(service, ann, screen, "edit", ids(service, ann, screen)[1])
    ((screen, draft),) = handlers.send(service, ann, screen, "better", panel)
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
    end = last(handlers.send(service, ann, screen, "two", panel))
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
    stolen = last(handlers.send(service, bob, open_screen, "mine", panel))
    assert "no conversation" in stolen.problem
    assert "no message" in last(handlers.retry(service, bob, Screen(), message, panel)).problem
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


def test_many_visitors_at_once(service, panel):
    def talk(name):
        visitor, screen = Visitor(name * 43), Screen()
        for i in range(3):
            screen = last(handlers.send(service, visitor, screen, f"{name}{i}", panel))
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
