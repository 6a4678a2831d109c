"""Laws of the store: nothing overwritten, nothing lost, nothing left after deletion."""

import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot import store as store_module
from chatbot.errors import InputError, StoreError
from chatbot.store import MAX_TITLE, ChangedError, Store, default_path
from chatbot.types import Candidate, Ranking, Reply, Sampling, Trace

ROOT = Path(__file__).resolve().parents[2]


def a_reply(text="Fine.", seed=7):
    candidates = (
        Candidate(text, (6, 7, 2), -3.0, "end", score=-1.0),
        Candidate("No.", (8, 2), -4.0, "end", score=-2.0),
    )
    trace = Trace(
        model={"name": "tiny", "digest": "d" * 64},
        turns=("Hi!",),
        seed=seed,
        sampling=Sampling(),
        ranking=Ranking(),
        prompt_ids=(3, 6),
        dropped_turns=0,
        truncated_pieces=0,
        steps=3,
    )
    return Reply(text, candidates, trace, seed, {"total": 0.5}).to_dict()


def say(chats, conversation_id, *contents):
    """Adds the contents as alternating turns after the branch that is shown; gives their ids."""
    ids = []
    for content in contents:
        thread = chats.thread(conversation_id)
        parent_id = thread[-1].id if thread else None
        add = chats.add_bot if len(thread) % 2 else chats.add_user
        ids.append(add(conversation_id, content, parent_id=parent_id))
    return ids


def contents(thread):
    return [message.content for message in thread]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "chats.sqlite3"


@pytest.fixture
def store():
    with Store.in_memory() as store:
        yield store


@pytest.fixture
def chats(store):
    return store.of("ann")


# -- what was said comes back


def test_a_turn_comes_back_after_closing(file):
    with Store(file) as store:
        chats = store.of("ann")
        conversation = chats.create()
        asked = chats.add_user(conversation.id, "Hi! 안녕", parent_id=None)
        chats.add_bot(
            conversation.id, "Fine.", parent_id=asked, reply=a_reply(), controls={"joy": 0.5}
        )
    with Store(file) as store:
        (conversation,) = store.of("ann").listed()
        user, bot = store.of("ann").thread(conversation.id)
    assert (conversation.title, user.role, user.content) == ("Hi! 안녕", "user", "Hi! 안녕")
    assert (bot.role, bot.content, bot.seed, bot.model_digest) == ("bot", "Fine.", 7, "d" * 64)
    assert bot.reply == json.loads(json.dumps(a_reply()))
    assert json.loads(bot.controls_json) == {"joy": 0.5}


def test_a_turn_is_written_whole_at_the_end_that_was_read_or_not_at_all(chats):
    conversation = chats.create().id
    chats.add_turn(
        conversation, [("user", "Hi!"), ("bot", "Hello.")], after=None, reply=a_reply(),
        controls={"joy": 0.5},
    )  # fmt: skip
    user, bot = before = chats.thread(conversation)
    assert [(one.role, one.content) for one in before] == [("user", "Hi!"), ("bot", "Hello.")]
    assert (user.reply, bot.seed, json.loads(bot.controls_json)) == (None, 7, {"joy": 0.5})
    assert chats.get(conversation).title == "Hi!"
    for after in (None, user.id):
        with pytest.raises(ChangedError, match="somebody else went on"):
            chats.add_turn(
                conversation, [("user", "And?"), ("bot", "No.")], after=after, reply=a_reply()
            )
    assert chats.tree(conversation) == before
    chats.add_turn(conversation, [("user", "And?"), ("bot", "No.")], after=bot.id, reply=a_reply())
    assert [one.content for one in chats.thread(conversation)] == ["Hi!", "Hello.", "And?", "No."]


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_can_be_stored_and_searched_for(text):
    with Store.in_memory() as store:
        chats = store.of("ann")
        conversation = chats.create()
        (asked,) = say(chats, conversation.id, text)
        assert chats.message(asked).content == text
        chats.listed(text)


def test_half_a_character_is_replaced(chats):
    (asked,) = say(chats, chats.create().id, "a\ud800b")
    assert chats.message(asked).content == "a?b"


def test_the_title_is_the_first_message_until_it_is_renamed(chats):
    conversation = chats.create()
    assert conversation.title == ""
    say(chats, conversation.id, "word " * 100, "Fine.", "second")
    title = chats.get(conversation.id).title
    assert title.startswith("word word")
    assert len(title) <= MAX_TITLE
    chats.rename(conversation.id, "  My\n chat ")
    say(chats, conversation.id, "more")
    assert chats.get(conversation.id).title == "My chat"


def test_a_long_run_of_combining_marks_does_not_hold_the_store_up(chats):
    conversation, begin = chats.create().id, time.process_time()
    chats.add_user(conversation, "e" + "\u0301\u0316" * 50_000, parent_id=None)
    assert time.process_time() - begin < 1
    assert len(chats.get(conversation).title) <= MAX_TITLE


def test_conversations_come_newest_first(chats):
    first, second, third = (chats.create(name).id for name in "abc")
    assert [one.id for one in chats.listed()] == [third, second, first]
    say(chats, first, "again")
    assert [one.id for one in chats.listed()] == [first, third, second]


# -- a tree


def test_an_edit_and_a_retry_are_branches(chats):
    conversation = chats.create().id
    hi, fine, why, because = say(chats, conversation, "Hi!", "Fine.", "Why?", "Because.")
    edited = chats.add_user(conversation, "How?", parent_id=fine)
    assert contents(chats.thread(conversation)) == ["Hi!", "Fine.", "How?"]
    assert chats.message(edited).versions == chats.message(why).versions == (why, edited)

    chats.show(why)
    assert contents(chats.thread(conversation)) == ["Hi!", "Fine.", "Why?", "Because."]
    retried = chats.add_bot(conversation, "So.", parent_id=why)
    assert contents(chats.thread(conversation)) == ["Hi!", "Fine.", "Why?", "So."]
    assert [m.versions for m in chats.thread(conversation)] == [
        (hi,), (fine,), (why, edited), (because, retried),
    ]  # fmt: skip

    begun_anew = chats.add_user(conversation, "Hello!", parent_id=None)
    assert contents(chats.thread(conversation)) == ["Hello!"]
    assert chats.message(hi).versions == (hi, begun_anew)
    chats.show(hi)
    assert contents(chats.thread(conversation))[-1] == "How?"  # the newest branch below


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 30), st.text(max_size=5)), max_size=30))
def test_what_was_said_is_never_changed(additions):
    with Store.in_memory() as store:
        chats = store.of("ann")
        conversation = chats.create("t").id
        said = {}
        for place, text in additions:
            parents = [None, *said]
            parent_id = parents[place % len(parents)]
            message_id = chats.add_user(conversation, text, parent_id=parent_id)
            said[message_id] = (parent_id, text)
            assert chats.thread(conversation)[-1].id == message_id
        tree = chats.tree(conversation)
        assert {message.id: (message.parent_id, message.content) for message in tree} == said
        for message in tree:
            chats.show(message.id)
            assert message.id in [shown.id for shown in chats.thread(conversation)]


def test_a_rating_is_kept_changed_and_taken_back(chats):
    _, fine = say(chats, chats.create().id, "Hi!", "Fine.")
    for value in (1, -1, 0):
        chats.rate(fine, value, "a note")
        assert chats.message(fine).rating == value
    with pytest.raises(InputError, match="rating is 2"):
        chats.rate(fine, 2)


# -- owners


def test_owners_do_not_reach_each_other(store):
    ann, bob = store.of("ann"), store.of("bob")
    conversation = ann.create().id
    hi, fine = say(ann, conversation, "secret", "Fine.")
    own = bob.create().id
    attempts = [
        lambda: bob.get(conversation),
        lambda: bob.thread(conversation),
        lambda: bob.tree(conversation),
        lambda: bob.message(hi),
        lambda: bob.rename(conversation, "mine"),
        lambda: bob.delete(conversation),
        lambda: bob.add_user(conversation, "x", parent_id=None),
        lambda: bob.add_user(own, "x", parent_id=fine),
        lambda: bob.add_bot(conversation, "x", parent_id=hi),
        lambda: bob.show(hi),
        lambda: bob.rate(fine, 1),
        lambda: list(bob.export_lines([conversation])),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match="there is no"):
            attempt()
    assert bob.listed("secret") == []
    assert list(bob.export_lines()) == []
    assert contents(ann.thread(conversation)) == ["secret", "Fine."]


# -- search


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", "abc"),
        ("mountain", "a"),
        ("MOUNTAIN", "a"),
        ("unta", "a"),
        ("보고", "b"),
        ("보고 싶었어", "b"),
        ("싶었어요", "b"),
        ("a", "abc"),
        ("mountain river", "a"),
        ("mountain lake", ""),
        ("100%", "c"),
        ("%", "c"),
        ("_", ""),
        ('"quoted', "c"),
        ("chat", "abc"),
        ("OR", ""),
        ("NEAR(a b)", ""),
        ("*", ""),
    ],
)
def test_search_finds_words_and_parts_of_words(chats, search, found):
    for name, turns in {
        "a": ["The mountain", "And the river"],
        "b": ["친구가 보고 싶었어요", "그래요?"],
        "c": ['100% "quoted" text', "Fine."],
    }.items():
        say(chats, chats.create(f"chat {name}").id, *turns)
    assert sorted(one.title[-1] for one in chats.listed(search)) == list(found)


def test_search_looks_into_branches_that_are_not_shown(chats):
    conversation = chats.create("t").id
    say(chats, conversation, "elephant")
    chats.add_user(conversation, "giraffe", parent_id=None)
    assert [one.id for one in chats.listed("elephant")] == [conversation]


# -- deletion


def test_deleted_means_deleted(file):
    with Store(file) as store:
        chats = store.of("ann")
        keep, gone = chats.create("keep").id, chats.create("unforgettable title").id
        say(chats, keep, "penguin", "Fine.")
        _, rated = say(chats, gone, "xylophone", "zeppelin")
        chats.rate(rated, -1, "quicksilver")
        chats.delete(gone)
        assert [one.id for one in chats.listed()] == [keep]
        assert chats.listed("xylophone") == []
        with pytest.raises(InputError, match="it may be deleted"):
            chats.thread(gone)
        bytes_on_disk = b"".join(part.read_bytes() for part in file.parent.iterdir())
    assert b"penguin" in bytes_on_disk
    for word in (b"xylophone", b"zeppelin", b"quicksilver", b"unforgettable"):
        assert word not in bytes_on_disk
    with sqlite3.connect(file) as db:
        db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(message_search, row)")
        trigrams = {term for (term,) in db.execute("SELECT term FROM terms")}
    db.close()
    assert "pen" in trigrams
    assert not trigrams & {"xyl", "zep"}


def test_a_long_conversation_can_be_deleted(chats):
    """SQLite follows cascades from row to row only 1,000 levels deep."""
    lines = [{"role": "user", "content": str(i)} for i in range(3000)]
    (conversation,) = chats.import_lines([json.dumps({"messages": lines})])
    assert len(chats.thread(conversation)) == 3000
    chats.delete(conversation)
    assert chats.listed() == []


def test_old_conversations_are_deleted(store, chats, monkeypatch):
    old, new = chats.create("old").id, chats.create("new").id
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 8 * 86_400)
    say(chats, new, "Hi!")
    assert store.delete_older(7) == 1
    assert [one.id for one in chats.listed()] == [new] != [old]


# -- export and import


def test_what_was_exported_is_imported_whole(chats, file):
    conversation = chats.create().id
    hi = chats.add_user(conversation, "Hi! 안녕", parent_id=None)
    chats.add_bot(conversation, "Fine.", parent_id=hi, reply=a_reply(), controls={"joy": 1})
    retried = chats.add_bot(conversation, "So so.", parent_id=hi)
    chats.rate(retried, 1, "yes")
    chats.add_user(conversation, "Hello!", parent_id=None)
    chats.show(retried)
    say(chats, chats.create("a title").id, "x")
    lines = list(chats.export_lines())

    with Store(file) as other:
        imported = other.of("bob")
        assert len(imported.import_lines(lines)) == 2
        assert [by_content(line) for line in imported.export_lines()] == [
            by_content(line) for line in lines
        ]


def by_content(line):
    """The record of a line, with ids replaced by what the messages say."""
    record = json.loads(line)
    messages = [*record["messages"], *record["branches"]]
    said = {None: None} | {message["id"]: message["content"] for message in messages}
    for message in messages:
        message["id"], message["parent"] = said[message["id"]], said[message["parent"]]
    return record


def test_empty_conversations_are_not_exported(chats):
    chats.create()
    assert list(chats.export_lines()) == []


def test_the_shown_branch_is_a_plain_openai_conversation(chats):
    conversation = chats.create().id
    say(chats, conversation, "Hi!", "Fine.")
    chats.add_user(conversation, "Hello!", parent_id=None)
    (line,) = chats.export_lines([conversation])
    record = json.loads(line)
    assert [(m["role"], m["content"]) for m in record["messages"]] == [("user", "Hello!")]
    assert [m["role"] for m in record["branches"]] == ["user", "assistant"]


def test_plain_openai_lines_are_read(chats):
    parts = [{"type": "text", "text": "I am "}, {"type": "text", "text": "fine."}]
    line = {
        "messages": [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": parts}]
    }
    (conversation,) = chats.import_lines(["\n", json.dumps(line) + "\n"])
    assert contents(chats.thread(conversation)) == ["Hi!", "I am fine."]
    assert chats.get(conversation).title == "Hi!"


def a_line(**changes):
    message = {"role": "user", "content": "Hi!"} | changes
    return json.dumps({"messages": [message]})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "Invalid JSON"),
        ("[]", "line 2: "),
        ("{}", "messages: Field required"),
        ('{"messages": []}', "messages"),
        ('{"messages": [1]}', "messages.0"),
        ('{"messages": [], "extra": 1}', "line 2"),
        (a_line(role="system"), "messages.0.role: .*'user' or 'assistant'"),
        (a_line(content=None), "messages.0.content"),
        (a_line(content=[{"type": "image_url"}]), "messages.0.content"),
        (a_line(content="x" * 200_000), "messages.0.content"),
        (a_line(colour="red"), "messages.0.colour"),
        (a_line(id=-1), "messages.0.id"),
        (a_line(id=2**63), "messages.0.id"),
        (a_line(id=True), "messages.0.id"),
        (a_line(id=4, parent=4), "the parent of message 4 is 4"),
        (a_line(id=4, parent=3), "the parent of message 4 is 3"),
        (a_line(created_at=-1), "messages.0.created_at"),
        (a_line(created_at="NaN"), "messages.0.created_at"),
        (a_line(rating=5), "messages.0.rating"),
        (a_line(reply={"text": "x"}), "messages.0.reply"),
        (a_line(reply=a_reply(seed=2**63)), "messages.0.reply"),
        (a_line(reply=a_reply() | {"candidates": []}), "messages.0.reply"),
        (
            json.dumps({"messages": [{"role": "user", "content": "a", "id": 1}] * 2}),
            "id of its own",
        ),
        (
            json.dumps({"messages": [json.loads(a_line())["messages"][0]] * 2,
                        "branches": json.loads(a_line())["messages"]}),
            "id of its own",
        ),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_nothing_is_imported(chats, line, expected):
    with pytest.raises(InputError, match=f"line 2: .*{expected}|{expected}") as caught:
        chats.import_lines([a_line(), line])
    assert str(caught.value).startswith("line 2: ")
    assert chats.listed() == []


def test_an_empty_file_is_told(chats):
    with pytest.raises(InputError, match="no conversation in it"):
        chats.import_lines(["\n"])


def test_a_reply_with_impossible_settings_names_its_line(chats):
    reply = a_reply()
    reply["trace"]["sampling"]["temperature"] = -1
    with pytest.raises(InputError, match="line 1: temperature is -1"):
        chats.import_lines([a_line(reply=reply)])


# -- when things go wrong

TURNS = """
import sys
from chatbot.store import Store
chats = Store(sys.argv[1]).of("ann")
conversation, parent = chats.create("t").id, None
print("begun", conversation, flush=True)
for turn in range(10_000):
    parent = chats.add_user(conversation, f"question {turn}", parent_id=parent)
    print("asked", turn, flush=True)
    parent = chats.add_bot(conversation, f"answer {turn}", parent_id=parent)
    print("answered", turn, flush=True)
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def killed(code, file, pause_s):
    """The first line of a process and what came behind it, until it was killed."""
    process = start(code, file)
    begun = process.stdout.readline()
    time.sleep(pause_s)
    process.kill()
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    return begun, rest


def is_clean(file):
    db = sqlite3.connect(file)
    try:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        db.close()


def test_kill_minus_9_loses_no_finished_turn(tmp_path):
    """A process killed twenty times in the midst of its turns, on one and the same file."""
    file, chance = tmp_path / "chats.sqlite3", random.Random(0)
    for _ in range(20):
        begun, rest = killed(TURNS, file, chance.uniform(0, 0.02))
        told = [begun, *rest.splitlines()]  # a line may be cut short
        with Store(file) as store:
            chats = store.of("ann")
            thread = contents(chats.thread(int(begun.split()[1])))
            expected = itertools.chain.from_iterable(
                (f"question {turn}", f"answer {turn}") for turn in range(10_000)
            )
            assert thread == list(itertools.islice(expected, len(thread)))
            # At most one write was done and not yet told of.
            assert len(thread) - (len(told) - 1) in (0, 1, -1 if told[-1][-1:] != "\n" else 0)
    assert is_clean(file)


WHOLE_TURNS = """
import sys
from chatbot.store import Store
chats = Store(sys.argv[1]).of("ann")
conversation, reply = chats.create("t").id, {"seed": 1, "trace": {"model": {}}}
print("begun", conversation, flush=True)
for turn in range(10_000):
    said = [("user", f"question {turn}"), ("bot", f"answer {turn}")]
    before = chats.thread(conversation)
    chats.add_turn(conversation, said, after=before[-1].id if before else None, reply=reply)
    print("kept", turn, flush=True)
"""


def test_kill_minus_9_leaves_turns_that_are_written_whole(tmp_path):
    file, chance = tmp_path / "chats.sqlite3", random.Random(0)
    for _ in range(5):
        begun, rest = killed(WHOLE_TURNS, file, chance.uniform(0, 0.02))
        n_told = rest.count("\n")
        with Store(file) as store:
            thread = contents(store.of("ann").thread(int(begun.split()[1])))
        n_kept, half = divmod(len(thread), 2)
        assert (half, n_kept - n_told in (0, 1)) == (0, True)
        assert thread[1::2] == [f"answer {turn}" for turn in range(n_kept)]
    assert is_clean(file)


def test_a_reader_does_not_wait_for_a_writer(file):
    """What WAL is for: another connection reads the last state in the midst of a write."""
    with Store(file) as writer, Store(file) as reader:
        writer.of("ann").create("before")
        with writer._transaction() as db:
            db.execute("DELETE FROM conversations")
            assert [one.title for one in reader.of("ann").listed()] == ["before"]
        assert reader.of("ann").listed() == []


WRITER = """
import sys
from chatbot.store import Store
with Store(sys.argv[1]) as store:
    chats = store.of(sys.argv[2])
    conversation = chats.create(sys.argv[2]).id
    for i in range(30):
        chats.add_user(conversation, f"{sys.argv[2]} {i}", parent_id=None)
"""


def test_processes_share_a_file(file):
    """Also its making: all of them find no file and want to set it up."""
    names = ["ann", "bob", "cid"]
    processes = [start(WRITER, file, name) for name in names]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with Store(file) as store:
        for name in names:
            (conversation,) = store.of(name).listed()
            tree = contents(store.of(name).tree(conversation.id))
            assert tree == [f"{name} {i}" for i in range(30)]
    assert is_clean(file)


@pytest.mark.parametrize("in_memory", [True, False])
def test_threads_share_a_store(in_memory, file):
    failures = []

    def write(store, name):
        try:
            conversation = store.of(name).create().id
            for i in range(20):
                say(store.of(name), conversation, f"{name} {i}")
                store.of(name).listed(name)
        except Exception as error:
            failures.append(error)

    with Store.in_memory() if in_memory else Store(file) as store:
        names = [f"name{i}" for i in range(4)]
        threads = [threading.Thread(target=write, args=(store, name)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for name in names:
            (conversation,) = store.of(name).listed()
            assert contents(store.of(name).thread(conversation.id)) == [
                f"{name} {i}" for i in range(20)
            ]


def test_a_full_disk_is_told_and_what_was_there_stays(file):
    with Store(file) as store:
        chats = store.of("ann")
        conversation = chats.create().id
        say(chats, conversation, "Hi!", "Fine.")
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"disk is full.*free some space"):
            say(chats, conversation, "x" * 100_000)
        assert contents(chats.thread(conversation)) == ["Hi!", "Fine."]
        store._connection.execute("PRAGMA max_page_count = 1000000")
        say(chats, conversation, "again")
    assert is_clean(file)


def test_a_file_that_may_only_be_read_is_told(file):
    with Store(file) as store:
        chats = store.of("ann")
        conversation = chats.create().id
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="may only be read"):
            say(chats, conversation, "Hi!")
        assert contents(chats.thread(conversation)) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_write_protected_file_is_told_at_the_start(file):
    Store(file).close()
    file.chmod(0o400)
    with pytest.raises(StoreError, match="Permission denied; give a file that you may write"):
        Store(file)


def test_a_busy_file_is_told(file, monkeypatch):
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_S", 0.05)
    with Store(file) as store, Store(file) as other, other._transaction():
        with pytest.raises(StoreError, match=r"busy for 0\.05 s; try again"):
            store.of("ann").create()
        assert store.of("ann").listed() == []  # reading goes on


def test_what_is_no_file_of_conversations_is_told(tmp_path):
    with pytest.raises(StoreError, match="Is a directory"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store("/dev/null/chats")
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(StoreError, match="no file of conversations"):
        Store(text)


def test_a_file_of_a_later_version_is_left_alone(file):
    with Store(file) as store:
        store.of("ann").create("kept")
        store._connection.execute("INSERT INTO migrations VALUES (99, 0)")
    with pytest.raises(StoreError, match=r"later version.*format 99"):
        Store(file)


def test_migrations_are_applied_once_and_in_order(file, monkeypatch):
    with Store(file) as store:
        store.of("ann").create("kept")
    later = (("ALTER TABLE conversations ADD COLUMN colour TEXT",),)
    monkeypatch.setattr(store_module, "MIGRATIONS", store_module.MIGRATIONS + later)
    for _ in range(2):
        with Store(file) as store:
            applied = store._connection.execute("SELECT number FROM migrations").fetchall()
            assert [row[0] for row in applied] == [1, 2]
            assert [one.title for one in store.of("ann").listed()] == ["kept"]


def test_a_failed_migration_changes_nothing(file, monkeypatch):
    Store(file).close()
    before = file.read_bytes()
    broken = (("ALTER TABLE conversations ADD COLUMN colour TEXT", "nonsense"),)
    monkeypatch.setattr(store_module, "MIGRATIONS", store_module.MIGRATIONS + broken)
    with pytest.raises(StoreError, match="syntax error"):
        Store(file)
    assert file.read_bytes() == before


def test_the_file_is_for_its_owner_alone(file):
    with Store(file) as store:
        store.of("ann").create()
        modes = {part.name: part.stat().st_mode & 0o777 for part in file.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3  # the log and its index too


def test_the_default_place_is_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "controllable-chatbot" / "conversations.sqlite3"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path().is_relative_to(tmp_path / ".local" / "share")
