"""A chat goes on in memory where its file cannot be written, and says so."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.errors import InputError, StoreError
from chatbot.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "chats.sqlite3"


def fill_disk(store):
    """No page more can be added to the file."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")


def protect(store):
    """As where the disk was mounted read-only meanwhile."""
    store._connection.execute("PRAGMA query_only = ON")


def contents(thread):
    return [message.content for message in thread]


def in_file(file, owner="ann"):
    with Store(file) as store:
        chats = store.of(owner)
        return [contents(chats.thread(one.id)) for one in chats.listed()]


@pytest.mark.parametrize(
    ("break_it", "told"), [(fill_disk, "disk is full"), (protect, "may only be read")]
)
def test_the_chat_goes_on_in_memory_and_says_so(file, break_it, told):
    long = "x" * 100_000
    with Store(file, or_memory=True) as store:
        chats = store.of("ann")
        conversation = chats.create().id
        hi = chats.add_user(conversation, "Hi!", parent_id=None)
        assert store.notice is None
        break_it(store)
        answer = chats.add_bot(conversation, long, parent_id=hi)
        assert told in store.notice
        assert "kept in memory only" in store.notice
        chats.add_user(conversation, "And you?", parent_id=answer)
        chats.rate(answer, 1)
        chats.rename(conversation, "named")
        other = chats.create("new").id
        assert contents(chats.thread(conversation)) == ["Hi!", long, "And you?"]
        assert [one.title for one in chats.listed()][-1] in ("named", "new")
        assert [one.id for one in chats.listed("and you")] == [conversation]
        with pytest.raises(StoreError, match="cannot be written, so it cannot be deleted"):
            chats.delete(conversation)
        chats.delete(other)
        assert len(list(chats.export_lines())) == 1
    assert in_file(file) == [["Hi!"]]


def test_without_leave_it_does_not_go_on_in_memory(file):
    with Store(file) as store:
        chats = store.of("ann")
        conversation = chats.create().id
        fill_disk(store)
        with pytest.raises(StoreError, match="disk is full"):
            chats.add_user(conversation, "x" * 100_000, parent_id=None)
        assert store.notice is None


def test_a_file_that_cannot_be_opened_begins_in_memory(tmp_path):
    with Store("/dev/null/chats", or_memory=True) as store:
        assert "cannot be opened" in store.notice
        chats = store.of("ann")
        chats.add_user(chats.create().id, "Hi!", parent_id=None)
        assert len(chats.listed()) == 1


def test_a_file_that_may_only_be_read_is_shown(file, monkeypatch):
    with Store(file) as store:
        chats = store.of("ann")
        old = chats.create("old").id
        chats.add_user(old, "Hi!", parent_id=None)
    before = file.read_bytes()
    monkeypatch.setattr(Store, "_make_file", unwritable)
    with Store(file, or_memory=True) as store:
        chats = store.of("ann")
        (hi,) = chats.thread(old)
        chats.add_bot(old, "Hello.", parent_id=hi.id)
        assert contents(chats.thread(old)) == ["Hi!", "Hello."]
        assert "Permission denied" in store.notice
        with pytest.raises(StoreError, match="cannot be deleted"):
            chats.delete(old)
    assert file.read_bytes() == before


def unwritable(store):
    """What `_make_file` meets where the file is protected; root would not be refused."""
    from chatbot.store import _UnwritableError

    raise _UnwritableError(f"{store.path} cannot be opened: Permission denied")


def test_what_is_no_file_of_conversations_is_still_refused(file):
    file.write_text("not a database, but long enough to be looked at as if it were one" * 20)
    with pytest.raises(StoreError, match="no file of conversations"):
        Store(file, or_memory=True)


def test_wrong_use_is_no_reason_to_leave_the_file(file):
    with Store(file, or_memory=True) as store, pytest.raises(InputError):
        store.of("ann").rename(99, "x")
    assert store.notice is None


TURN = """
import sys, time
from chatbot.store import Store
file, mine, other = sys.argv[1:]
with Store(file) as store:
    chats = store.of("both")
    (conversation,) = chats.listed()
    for turn in range(20):
        thread = chats.thread(conversation.id)
        chats.add_user(conversation.id, f"{mine} {turn}", parent_id=thread[-1].id)
    end = time.monotonic() + 30
    while time.monotonic() < end:  # what the other process writes is seen here
        if any(one.content == f"{other} 19" for one in chats.tree(conversation.id)):
            sys.exit(0)
        time.sleep(0.01)
sys.exit("nothing seen of the other")
"""


def test_two_processes_write_one_conversation_and_see_each_other(file):
    with Store(file) as store:
        chats = store.of("both")
        conversation = chats.create("shared").id
        chats.add_user(conversation, "start", parent_id=None)
    names = [("ann", "bob"), ("bob", "ann")]
    processes = [
        subprocess.Popen([sys.executable, "-c", TURN, file, *pair], cwd=ROOT) for pair in names
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    with Store(file) as store:
        tree = store.of("both").tree(conversation)
        expected = {f"{name} {turn}" for name in ("ann", "bob") for turn in range(20)}
        assert sorted(contents(tree)) == sorted([*expected, "start"])
        ids = {message.id for message in tree}
        assert all(message.parent_id in ids for message in tree[1:])
    db = sqlite3.connect(file)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
