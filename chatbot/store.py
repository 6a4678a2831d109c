"""Conversations that survive: a SQLite file of message trees, searched, exported and deleted.

Nothing said is overwritten. A message points at the one before it; a retry, an edit or another
candidate is one more child of the same parent, and the conversation remembers which leaf is
shown. What the person wrote is committed before a reply is begun, the reply in one transaction
after it, so that a process killed at any point loses no finished turn.

Knows nothing of models: a reply comes as the plain values of `Reply.to_dict()`.
"""

import functools
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar

from chatbot.errors import InputError, StoreError
from chatbot.folders import data_folder
from chatbot.prompt import clean_text

log = logging.getLogger(__name__)

Role = Literal["user", "bot"]

BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another process that writes."""

MEMORY = ":memory:"
"""In place of a file, for conversations that are gone with the program."""

MAX_TITLE = 80

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE conversations (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            owner TEXT NOT NULL,
            title TEXT NOT NULL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL,
            leaf_id INTEGER  -- last message of the branch that is shown
        ) STRICT""",
        "CREATE INDEX conversations_newest ON conversations (owner, updated_at)",
        # A message goes only with its whole conversation, so parent_id needs no cascade, which
        # SQLite would follow recursively and give up on at a depth of 1,000.
        """CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation_id INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
            parent_id INTEGER REFERENCES messages,
            role TEXT NOT NULL CHECK (role IN ('user', 'bot')),
            content TEXT NOT NULL,
            created_at REAL NOT NULL,
            seed INTEGER,
            controls_json TEXT,
            reply_json TEXT,
            model_digest TEXT
        ) STRICT""",
        "CREATE INDEX messages_of ON messages (conversation_id)",
        "CREATE INDEX messages_below ON messages (parent_id)",
        """CREATE TABLE feedback (
            message_id INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE,
            value INTEGER NOT NULL CHECK (value IN (-1, 1)),
            note TEXT NOT NULL,
            created_at REAL NOT NULL
        ) STRICT""",
        # Trigrams, because Korean words carry their endings and have no spaces to split at.
        """CREATE VIRTUAL TABLE message_search USING fts5(
            content, content = 'messages', content_rowid = 'id', tokenize = 'trigram'
        )""",
        """CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
            INSERT INTO message_search (rowid, content) VALUES (new.id, new.content);
        END""",
        """CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
            INSERT INTO message_search (message_search, rowid, content)
            VALUES ('delete', old.id, old.content);
        END""",
    ),
)
"""Statements that lead from one version of the file to the next; old ones are never changed."""


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation without its messages.

    Attributes:
        leaf_id: last message of the branch that is shown; None while there is no message.
    """

    id: int
    title: str
    created_at: float
    updated_at: float
    leaf_id: int | None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with its place in the tree.

    Attributes:
        versions: ids of the messages that stand at this place, this one included, oldest first.
        rating: 1 liked, -1 disliked, 0 not rated.
        reply_json: `Reply.to_dict()` of a bot's message; None where the bot did not draw it.
        controls_json: what the reply was asked to be like.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    role: Role
    content: str
    created_at: float
    versions: tuple[int, ...]
    rating: int = 0
    note: str = ""
    seed: int | None = None
    controls_json: str | None = None
    reply_json: str | None = None
    model_digest: str | None = None

    @property
    def reply(self) -> dict[str, Any] | None:
        """The plain values of the `Reply`; not read from their text before they are wanted."""
        return None if self.reply_json is None else json.loads(self.reply_json)


class ChangedError(StoreError):
    """Somebody else went on with the conversation; read it again."""


class _UnwritableError(StoreError):
    """The file cannot be written, for a reason that lies in file or disk."""


_MESSAGES = """SELECT messages.*, coalesce(value, 0) AS rating, coalesce(note, '') AS note
    FROM messages LEFT JOIN feedback ON message_id = messages.id"""


def default_path() -> Path:
    """Where conversations lie unless told otherwise.

    `controllable-chatbot/conversations.sqlite3` in `$XDG_DATA_HOME`, or in `~/.local/share`.
    """
    return data_folder() / "conversations.sqlite3"


class Store:
    """A file of conversations of several owners; may be shared by threads and by processes.

    One connection behind a lock: every statement is short, and a store in memory has only one.

    Attributes:
        notice: what every person who chats must know, in words: that the file could not be
            written and new messages are kept in memory only. None while all is well.
    """

    def __init__(self, path: str | Path | None = None, *, or_memory: bool = False):
        """Opens the file, making it where there is none.

        Args:
            path: None for `default_path()`.
            or_memory: where the file cannot be written, now or later, go on with a copy in memory
                and say so in `notice`.

        Raises:
            StoreError: it is no such file, or was made by a later version; without `or_memory`
                also when it cannot be opened.
        """
        self.path = (default_path() if path is None else Path(path)).expanduser()
        self.notice: str | None = None
        self._or_memory = or_memory
        self._last_in_file = 0
        try:
            self._make_file()
            self._open(str(self.path))
        except _UnwritableError as error:
            if not or_memory:
                raise
            self._open_copy(error)

    def _make_file(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made by hand, so that from the first byte nobody else may read it.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, mode=0o600))
        except OSError as error:
            raise _UnwritableError(
                f"{self.path} cannot be opened: {error.strerror}; give a file that you may write, "
                "or keep conversations in memory"
            ) from error

    @classmethod
    def named(cls, place: str | None, *, or_memory: bool = False) -> Self:
        """The store of a file as a person names it: `MEMORY` for none, None for the usual place.

        Raises:
            StoreError: as of a file that is opened.
        """
        return cls.in_memory() if place == MEMORY else cls(place, or_memory=or_memory)

    @classmethod
    def in_memory(cls) -> Self:
        """A store that leaves nothing behind when it is closed."""
        store = cls.__new__(cls)
        store.path = Path(MEMORY)
        store.notice, store._or_memory, store._last_in_file = None, False, 0
        store._open(MEMORY)
        return store

    def of(self, owner: str) -> "Conversations":
        """The conversations of one owner; those of others cannot be reached through it."""
        return Conversations(self, owner)

    def delete_older(self, days: float) -> int:
        """Deletes what was last written to more than `days` ago; says how many conversations."""
        before = time.time() - days * 86_400
        return self._delete("updated_at < ?", before)

    def close(self) -> None:
        """Ends the connection; the store cannot be used after it."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, name: str) -> None:
        self._lock = threading.RLock()
        with self._errors_in_words():
            self._connection = sqlite3.connect(
                name, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors_in_words():
                self._set_up()
            self._migrate()
        except BaseException:
            self._connection.close()
            raise

    def _open_copy(self, error: StoreError) -> None:
        """Goes on in memory, with what the file holds as far as it can be read."""
        readable = None
        with suppress(sqlite3.Error):
            readable = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        self._open(MEMORY)
        if readable is not None:
            with suppress(sqlite3.Error):  # then it begins empty
                readable.backup(self._connection)
            readable.close()
            self._migrate()
        self._noticed(error)

    def _go_on_in_memory(self, error: StoreError) -> None:
        """Puts a copy in memory in the place of the file, which cannot be written any more."""
        with self._lock:
            if self.notice is not None:
                raise error  # not the file, then
            file, self._connection = self._connection, sqlite3.connect(
                MEMORY, isolation_level=None, check_same_thread=False
            )  # fmt: skip
            try:
                with self._errors_in_words():
                    file.backup(self._connection)
                    self._set_up()
            except BaseException:
                self._connection.close()
                self._connection = file
                raise
            file.close()
            self._noticed(error)

    def _noticed(self, error: StoreError) -> None:
        self._last_in_file = self._rows("SELECT coalesce(max(id), 0) FROM conversations")[0][0]
        self.notice = (
            f"{error}. From now on messages are kept in memory only and are lost when the program "
            "ends: export what matters, then put it right and start again"
        )
        log.warning("%s", self.notice)

    def _set_up(self) -> None:
        self._connection.row_factory = sqlite3.Row
        # What was deleted is overwritten with zeros, not only forgotten.
        for setting in ("foreign_keys = ON", "secure_delete = ON", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {setting}")
        # Two processes that both change a fresh file to WAL: SQLite refuses one of them at once,
        # without its busy timeout.
        for wait_s in (0.01, 0.05, 0.2, 1.0, 0.0):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not wait_s:
                    raise
                time.sleep(wait_s)

    def _migrate(self) -> None:
        with self._transaction() as db:
            db.execute(
                "CREATE TABLE IF NOT EXISTS migrations "
                "(number INTEGER PRIMARY KEY, applied_at REAL NOT NULL) STRICT"
            )
            done = db.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0]
            if done > len(MIGRATIONS):
                raise StoreError(
                    f"{self.path} was written by a later version of this program "
                    f"(format {done}, this one knows {len(MIGRATIONS)}); update, or give another "
                    "file"
                )
            for number, statements in enumerate(MIGRATIONS[done:], start=done + 1):
                for statement in statements:
                    db.execute(statement)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (number, time.time()))

    def _delete(self, condition: str, *values: Any) -> int:
        with self._transaction() as db:
            gone = db.execute(f"DELETE FROM conversations WHERE {condition}", values).rowcount
            if gone:
                # The search index marks deleted words; merging its parts takes them out.
                db.execute("INSERT INTO message_search (message_search) VALUES ('optimize')")
        if gone:
            with self._lock, self._errors_in_words():  # the log still holds the old pages
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return gone

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock, self._errors_in_words():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a write transaction, taken back when anything fails."""
        with self._lock, self._errors_in_words():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            kind = _UnwritableError if _is_unwritable(error) else StoreError
            raise kind(f"{self.path}: {_in_words(error)}") from error


P = ParamSpec("P")
R = TypeVar("R")


def _going_on(
    write: Callable[Concatenate["Conversations", P], R],
) -> Callable[Concatenate["Conversations", P], R]:
    """A method that writes once more, into memory, where the file cannot be written."""

    @functools.wraps(write)
    def write_somewhere(chats: "Conversations", /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return write(chats, *args, **kwargs)
        except _UnwritableError as error:
            if not chats._store._or_memory:
                raise
            chats._store._go_on_in_memory(error)
            return write(chats, *args, **kwargs)

    return write_somewhere


class Conversations:
    """The conversations of one owner in a `Store`.

    Every method raises `StoreError` where the file fails, and `InputError` where a conversation
    or message is not this owner's.
    """

    def __init__(self, store: Store, owner: str):
        self._store = store
        self._owner = owner

    # -- conversations

    @_going_on
    def create(self, title: str = "") -> StoredConversation:
        """A new, empty conversation; without a title it takes that of its first message."""
        now = time.time()
        with self._store._transaction() as db:
            made = db.execute(
                "INSERT INTO conversations (owner, title, created_at, updated_at) "
                "VALUES (?, ?, ?, ?)",
                (self._owner, _title(title), now, now),
            )
        return self.get(_rowid(made))

    def listed(self, search: str = "") -> list[StoredConversation]:
        """The conversations, newest first, whose title or messages hold every searched word."""
        query, values = "SELECT * FROM conversations WHERE owner = ?", [self._owner]
        for word in clean_text(search).split():
            like = "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
            # Shorter words, such as most Korean ones, hold no trigram to look up.
            matches = "MATCH ?" if len(word) >= 3 else r"LIKE ? ESCAPE '\'"
            query += (
                r" AND (title LIKE ? ESCAPE '\' OR id IN (SELECT conversation_id FROM messages "
                f"WHERE id IN (SELECT rowid FROM message_search WHERE content {matches})))"
            )
            values += [like, '"' + word.replace('"', '""') + '"' if len(word) >= 3 else like]
        rows = self._store._rows(f"{query} ORDER BY updated_at DESC, id DESC", *values)
        return [_conversation(row) for row in rows]

    def get(self, conversation_id: int) -> StoredConversation:
        """The conversation of an id."""
        rows = self._store._rows(
            "SELECT * FROM conversations WHERE id = ? AND owner = ?", conversation_id, self._owner
        )
        if not rows:
            raise InputError(f"there is no conversation {conversation_id}; it may be deleted")
        return _conversation(rows[0])

    @_going_on
    def rename(self, conversation_id: int, title: str) -> None:
        """Gives it another title, of which the first `MAX_TITLE` characters are kept."""
        if not _title(title):
            raise InputError("the title is empty; write one")
        self.get(conversation_id)
        with self._store._transaction() as db:
            db.execute(
                "UPDATE conversations SET title = ? WHERE id = ?", (_title(title), conversation_id)
            )

    def delete(self, conversation_id: int) -> None:
        """Deletes it with all its messages, from the disk too.

        Raises:
            StoreError: also where it lies in a file that cannot be written any more.
        """
        self.get(conversation_id)
        if conversation_id <= self._store._last_in_file:
            raise StoreError(
                f"it lies in {self._store.path}, which cannot be written, so it cannot be deleted; "
                "put that right and start again"
            )
        self._store._delete("id = ? AND owner = ?", conversation_id, self._owner)

    # -- messages

    def thread(self, conversation_id: int) -> list[StoredMessage]:
        """The messages of the branch that is shown, oldest first."""
        leaf_id = self.get(conversation_id).leaf_id
        return _path(self.tree(conversation_id), leaf_id)

    def branch(self, message_id: int) -> list[StoredMessage]:
        """The messages that lead to one, oldest first, itself the last."""
        return _path(self.tree(self.message(message_id).conversation_id), message_id)

    def tree(self, conversation_id: int) -> list[StoredMessage]:
        """All messages of a conversation in the order in which they were written."""
        self.get(conversation_id)
        rows = self._store._rows(
            f"{_MESSAGES} WHERE conversation_id = ? ORDER BY id", conversation_id
        )
        versions: dict[int | None, list[int]] = {}
        for row in rows:
            versions.setdefault(row["parent_id"], []).append(row["id"])
        return [_message(row, versions[row["parent_id"]]) for row in rows]

    def message(self, message_id: int) -> StoredMessage:
        """The message of an id."""
        rows = self._store._rows(
            f"{_MESSAGES} JOIN conversations ON conversations.id = conversation_id "
            "WHERE messages.id = ? AND owner = ?",
            message_id,
            self._owner,
        )
        if not rows:
            raise InputError(f"there is no message {message_id}; it may be deleted")
        row = rows[0]
        versions = self._store._rows(
            "SELECT id FROM messages WHERE conversation_id = ? AND parent_id IS ? ORDER BY id",
            row["conversation_id"],
            row["parent_id"],
        )
        return _message(row, [version["id"] for version in versions])

    def add_user(self, conversation_id: int, content: str, *, parent_id: int | None) -> int:
        """Writes down what the person said and shows it; gives its id.

        Args:
            parent_id: the message it follows, None at the start of a conversation.
        """
        return self._add(conversation_id, parent_id, "user", content)

    def add_bot(
        self,
        conversation_id: int,
        content: str,
        *,
        parent_id: int | None,
        reply: Mapping[str, Any] | None = None,
        controls: Mapping[str, Any] | None = None,
    ) -> int:
        """Writes down what the bot said and shows it; gives its id.

        Args:
            parent_id: the message it answers.
            reply: `Reply.to_dict()`, None where the bot did not draw it.
            controls: what the reply was asked to be like.
        """
        return self._add(conversation_id, parent_id, "bot", content, reply, controls)

    @_going_on
    def add_turn(
        self,
        conversation_id: int,
        said: Sequence[tuple[Role, str]],
        *,
        after: int | None,
        reply: Mapping[str, Any],
        controls: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes down a turn at the end of the branch that is shown, all of it or nothing.

        Args:
            said: messages that follow one another, the last the bot's answer.
            after: the message that the branch ended with when it was read, None for none.
            reply, controls: of the answer, as in `add_bot`.

        Raises:
            ChangedError: the branch ends otherwise by now.
        """
        title, now = self.get(conversation_id).title or _title(said[0][1]), time.time()
        with self._store._transaction() as db:
            shown = db.execute(
                "SELECT leaf_id FROM conversations WHERE id = ?", (conversation_id,)
            ).fetchone()
            if shown is None or shown["leaf_id"] != after:
                raise ChangedError(
                    "somebody else went on with the conversation, or deleted it, while the answer "
                    "was made, which was not kept; read it again and answer that"
                )
            leaf_id = after
            for place, (role, content) in enumerate(said, start=1):
                own = (reply, controls) if place == len(said) else (None, None)
                leaf_id = _insert(db, conversation_id, leaf_id, role, content, now, *own)
            db.execute(
                "UPDATE conversations SET leaf_id = ?, updated_at = ?, title = ? WHERE id = ?",
                (leaf_id, now, title, conversation_id),
            )

    @_going_on
    def show(self, message_id: int) -> None:
        """Shows the branch of a message, down to its newest end."""
        message = self.message(message_id)
        places = self._store._rows(
            "SELECT id, parent_id FROM messages WHERE conversation_id = ? ORDER BY id",
            message.conversation_id,
        )
        newest_below = {place["parent_id"]: place["id"] for place in places}
        leaf_id = message_id
        while leaf_id in newest_below:
            leaf_id = newest_below[leaf_id]
        with self._store._transaction() as db:
            db.execute(
                "UPDATE conversations SET leaf_id = ? WHERE id = ?",
                (leaf_id, message.conversation_id),
            )

    @_going_on
    def rate(self, message_id: int, value: int, note: str = "") -> None:
        """Keeps what the person thinks of a message: 1 liked, -1 disliked, 0 takes it back."""
        if value not in (-1, 0, 1):
            raise InputError(f"the rating is {value}; give 1, -1, or 0 to take it back")
        self.message(message_id)
        with self._store._transaction() as db:
            db.execute("DELETE FROM feedback WHERE message_id = ?", (message_id,))
            if value:
                db.execute(
                    "INSERT INTO feedback VALUES (?, ?, ?, ?)",
                    (message_id, value, _storable(note), time.time()),
                )

    # -- exchange

    def export_lines(self, conversation_ids: Sequence[int] | None = None) -> Iterator[str]:
        """One line of JSON per conversation that holds a message; None for all of them.

        The format is told in `exchange`.
        """
        from chatbot.exchange import line_of

        if conversation_ids is None:
            conversation_ids = [one.id for one in self.listed()]
        for conversation_id in conversation_ids:
            conversation, tree = self.get(conversation_id), self.tree(conversation_id)
            if tree:
                yield line_of(conversation, self.thread(conversation_id), tree)

    @_going_on
    def import_lines(self, lines: Iterable[str]) -> list[int]:
        """Adds the conversations of exported lines, all or none; gives their ids.

        Raises:
            InputError: a line is not what it should be; the message names it.
        """
        from chatbot.exchange import read_lines

        drafts = read_lines(lines)
        made = []
        with self._store._transaction() as db:
            for draft in drafts:
                conversation_id = _rowid(
                    db.execute(
                        "INSERT INTO conversations (owner, title, created_at, updated_at) "
                        "VALUES (?, ?, ?, ?)",
                        (self._owner, _title(draft.title), draft.created_at, draft.updated_at),
                    )
                )
                ids: dict[int | None, int | None] = {None: None}
                for message in draft.messages:
                    ids[message.id] = _insert(
                        db, conversation_id, ids[message.parent_id], message.role,
                        message.content, message.created_at, message.reply, message.controls,
                    )  # fmt: skip
                    if message.rating:
                        db.execute(
                            "INSERT INTO feedback VALUES (?, ?, ?, ?)",
                            (ids[message.id], message.rating, _storable(message.note), time.time()),
                        )
                db.execute(
                    "UPDATE conversations SET leaf_id = ? WHERE id = ?",
                    (ids[draft.leaf_id], conversation_id),
                )
                made.append(conversation_id)
        return made

    @_going_on
    def _add(
        self,
        conversation_id: int,
        parent_id: int | None,
        role: Role,
        content: str,
        reply: Mapping[str, Any] | None = None,
        controls: Mapping[str, Any] | None = None,
    ) -> int:
        title = self.get(conversation_id).title or _title(content)
        if parent_id is not None and self.message(parent_id).conversation_id != conversation_id:
            raise InputError(f"message {parent_id} is not of conversation {conversation_id}")
        now = time.time()
        with self._store._transaction() as db:
            message_id = _insert(
                db, conversation_id, parent_id, role, content, now, reply, controls
            )
            db.execute(
                "UPDATE conversations SET leaf_id = ?, updated_at = ?, title = ? WHERE id = ?",
                (message_id, now, title, conversation_id),
            )
        return message_id


def _insert(
    db: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    role: Role,
    content: str,
    created_at: float,
    reply: Mapping[str, Any] | None,
    controls: Mapping[str, Any] | None,
) -> int:
    return _rowid(
        db.execute(
            "INSERT INTO messages (conversation_id, parent_id, role, content, created_at, seed, "
            "controls_json, reply_json, model_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                conversation_id,
                parent_id,
                role,
                _storable(content),
                created_at,
                reply and reply["seed"],
                controls and json.dumps(controls),
                reply and json.dumps(reply),
                reply and reply["trace"]["model"].get("digest"),
            ),
        )
    )


def _path(tree: Iterable[StoredMessage], leaf_id: int | None) -> list[StoredMessage]:
    """From the first message to the leaf."""
    messages = {message.id: message for message in tree}
    path = []
    while leaf_id is not None:
        path.append(messages[leaf_id])
        leaf_id = messages[leaf_id].parent_id
    return path[::-1]


def _rowid(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None  # every caller has just inserted a row
    return cursor.lastrowid


def _conversation(row: sqlite3.Row) -> StoredConversation:
    return StoredConversation(
        row["id"], row["title"], row["created_at"], row["updated_at"], row["leaf_id"]
    )


def _message(row: sqlite3.Row, versions: Sequence[int]) -> StoredMessage:
    return StoredMessage(
        id=row["id"],
        conversation_id=row["conversation_id"],
        parent_id=row["parent_id"],
        role=row["role"],
        content=row["content"],
        created_at=row["created_at"],
        versions=tuple(versions),
        rating=row["rating"],
        note=row["note"],
        seed=row["seed"],
        controls_json=row["controls_json"],
        reply_json=row["reply_json"],
        model_digest=row["model_digest"],
    )


def _title(text: str) -> str:
    """One line, short enough for a list."""
    # The beginning alone: NFC takes quadratic time on long runs of combining marks.
    title = clean_text(text.lstrip()[: 10 * MAX_TITLE])
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1].rstrip() + "…"


def _storable(text: str) -> str:
    """The text with halves of characters, which cannot be written as UTF-8, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_unwritable(error: sqlite3.Error) -> bool:
    """Whether the file, or its disk, takes no more; what is read from it may still be right."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
    )  # fmt: skip


def _in_words(error: sqlite3.Error) -> str:
    """What happened to the file and what to do about it."""
    code = getattr(error, "sqlite_errorcode", 0)  # missing where Python itself refused
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return "the disk is full, nothing was written; free some space and try again"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return "the file may only be read; give write permission, or give another file"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another program kept it busy for {BUSY_TIMEOUT_S:g} s; try again"
        case sqlite3.SQLITE_NOTADB:
            return "is no file of conversations; give another file"
        case sqlite3.SQLITE_CORRUPT:
            return "the file is damaged; restore a copy, or give another file"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR:
            return f"the file cannot be reached ({error}); see whether disk and folder are there"
        case sqlite3.SQLITE_CONSTRAINT:
            return f"what this belongs to was deleted meanwhile ({error})"
        case _:
            return str(error)
