"""Conversations that the service keeps: begun, gone on with, read and deleted, as a client does."""

import httpx
import openai
import pytest

from chatbot.errors import InputError
from chatbot.store import Store
from ui.api.kept import KeptConversations

SMALL = {"candidates": 3, "max_tokens": 8, "seed": 7}


def say(served, name, text, **given):
    body = {"messages": [{"role": "user", "content": text}], "conversation": name, **SMALL, **given}
    return served.post(body)


def reply_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def contents(served, name):
    messages = httpx.get(f"{served.url}/v1/conversations/{name}").json()["messages"]
    return [(one["role"], one["content"]) for one in messages]


@pytest.fixture
def kept():
    return KeptConversations(":memory:")


@pytest.fixture
def served(serve, tiny_bot, kept):
    return serve(tiny_bot, kept=kept)


@pytest.fixture
def name(served):
    with served.client() as client:
        return client.conversations.create().id


def test_a_turn_is_answered_after_those_before_it(served, name):
    first = reply_of(say(served, name, "My dog is sick."))
    answer = say(served, name, "What shall I do?", trace=True).json()
    second = answer["choices"][0]["message"]["content"]
    assert answer["conversation"] == {"id": name}
    assert answer["trace"]["turns"] == ["My dog is sick.", first, "What shall I do?"]
    whole = [
        {"role": "user", "content": "My dog is sick."}, {"role": "assistant", "content": first},
        {"role": "user", "content": "What shall I do?"},
    ]  # fmt: skip
    assert second == reply_of(served.post({"messages": whole, **SMALL}))
    assert contents(served, name) == [
        ("user", "My dog is sick."), ("assistant", first), ("user", "What shall I do?"),
        ("assistant", second),
    ]  # fmt: skip


def test_a_streamed_answer_is_kept_too(served, name):
    with served.client() as client:
        chunks = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hi!"}], stream=True, max_tokens=8,
            extra_body={"conversation": name, "candidates": 3},
        )  # fmt: skip
        words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert contents(served, name) == [("user", "Hi!"), ("assistant", words)]


def test_the_answer_is_kept_as_the_client_has_it(served, name):
    whole = reply_of(say(served, name, "Hi!"))
    reply_of(say(served, name, "Hi!", stop=whole[0]))  # may leave nothing of it
    assert contents(served, name)[2] == ("user", "Hi!")
    turns = say(served, name, "Go on!", trace=True).json()["trace"]["turns"]
    assert all(turns)
    assert turns[-1].endswith("Go on!")


def test_openais_client_begins_reads_and_deletes(served, name):
    with served.client() as client:
        begun = client.conversations.retrieve(name)
        assert (begun.id, begun.object, begun.messages) == (name, "conversation", [])
        assert client.conversations.delete(name).deleted
        with pytest.raises(openai.NotFoundError, match="it may be deleted"):
            client.conversations.retrieve(name)
    assert say(served, name, "Hi!").json()["error"]["code"] == "conversation_not_found"


def test_what_was_deleted_is_not_in_the_file(serve, tiny_bot, tmp_path):
    file = tmp_path / "kept.sqlite3"
    served = serve(tiny_bot, kept=KeptConversations(str(file)))
    name = httpx.post(f"{served.url}/v1/conversations").json()["id"]
    reply_of(say(served, name, "A purple giraffe."))
    assert httpx.delete(f"{served.url}/v1/conversations/{name}").status_code == 200
    assert all(b"giraffe" not in one.read_bytes() for one in tmp_path.iterdir())


def test_ids_cannot_be_guessed_and_are_nowhere_listed(served, name):
    assert len(bytes.fromhex(name.removeprefix("conv_"))) == 24
    with served.client() as client:
        other = client.conversations.create().id
    reply_of(say(served, other, "My secret is a purple giraffe."))
    assert say(served, name, "Hi!", trace=True).json()["trace"]["turns"] == ["Hi!"]
    assert httpx.get(f"{served.url}/v1/conversations").status_code == 405
    assert say(served, "conv_1", "Hi!").status_code == 404


def test_with_a_key_nothing_is_reached_without_it(serve, tiny_bot, kept):
    served = serve(tiny_bot, kept=kept, api_key="key")
    with served.client(api_key="key") as client:
        name = client.conversations.create().id
    for method in ("GET", "DELETE"):
        answer = httpx.request(method, f"{served.url}/v1/conversations/{name}")
        assert answer.status_code == 401
    assert kept.read(name).messages == ()


def test_a_turn_that_fails_leaves_nothing(served, name):
    assert say(served, name, "Hi!", controls={"jo": 1}).status_code == 400
    assert say(served, name, "   ").status_code == 400
    assert contents(served, name) == []


@pytest.mark.parametrize("is_streamed", [False, True])
def test_of_two_answers_to_one_place_one_is_kept(served, name, kept, monkeypatch, is_streamed):
    """As where two clients ask at once: the other is told, and nothing is overwritten."""
    read = kept.read(name)
    first = reply_of(say(served, name, "I was first."))
    monkeypatch.setattr(kept, "read", lambda _: read)  # what the second read before the first wrote
    answer = say(served, name, "Me too.", stream=is_streamed)
    monkeypatch.undo()
    assert answer.status_code == (200 if is_streamed else 409)
    assert '"conversation_changed"' in answer.text
    assert contents(served, name) == [("user", "I was first."), ("assistant", first)]


def test_a_service_without_a_store_says_so(serve, tiny_bot):
    served = serve(tiny_bot)
    for answer in (say(served, "conv_1", "Hi!"), httpx.post(f"{served.url}/v1/conversations")):
        assert answer.status_code == 400
        assert "start it with --store FILE" in answer.json()["error"]["message"]


def test_a_long_conversation_is_told_to_begin_anew(serve, tiny_bot, kept):
    from ui.api.schema import Limits

    served = serve(tiny_bot, kept=kept, limits=Limits(max_messages=2))
    name = kept.begin().id
    reply_of(say(served, name, "Hi!"))
    refused = say(served, name, "And?")
    assert refused.status_code == 400
    assert "begin another conversation" in refused.json()["error"]["message"]


def test_items_of_a_new_conversation_are_refused_not_lost(served):
    item = {"type": "message", "role": "user", "content": "Hi!"}
    refused = httpx.post(f"{served.url}/v1/conversations", json={"items": [item]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "items")
    assert httpx.post(f"{served.url}/v1/conversations", json={"metadata": {}}).status_code == 200


def test_another_service_on_the_file_goes_on(serve, tiny_bot, tmp_path):
    file = str(tmp_path / "kept.sqlite3")
    one, other = (serve(tiny_bot, kept=KeptConversations(file, is_shared=True)) for _ in range(2))
    name = httpx.post(f"{one.url}/v1/conversations").json()["id"]
    first = reply_of(say(one, name, "Hi!"))
    turns = say(other, name, "And?", trace=True).json()["trace"]["turns"]
    assert turns == ["Hi!", first, "And?"]
    assert len(contents(one, name)) == 4


def test_the_trace_is_kept_with_the_answer(serve, tiny_bot, tmp_path):
    file = tmp_path / "kept.sqlite3"
    served = serve(tiny_bot, kept=KeptConversations(str(file)))
    name = httpx.post(f"{served.url}/v1/conversations").json()["id"]
    reply_of(say(served, name, "Hi!", controls={"joy": 0.5}))
    with Store(file) as store:
        chats = store.of(f"api:{name}")
        _, bot = chats.thread(chats.listed()[0].id)
    assert bot.seed == 7
    assert bot.reply["trace"]["controls"]["strengths"] == {"joy": 0.5}
    assert len(bot.reply["candidates"]) == 3


def protect(kept):
    kept._store._connection.execute("PRAGMA query_only = ON")


def test_where_the_file_cannot_be_written_the_answer_says_so(serve, tiny_bot, tmp_path):
    kept = KeptConversations(str(tmp_path / "kept.sqlite3"))
    served = serve(tiny_bot, kept=kept)
    name = kept.begin().id
    assert "memory" not in str(say(served, name, "Hi!").json()["notes"])
    protect(kept)
    answer = say(served, name, "And?").json()
    assert "kept in memory only" in answer["notes"][-1]
    assert str(tmp_path) not in str(answer)
    assert len(contents(served, name)) == 4


def test_where_a_shared_file_cannot_be_written_the_turn_fails(serve, tiny_bot, tmp_path):
    kept = KeptConversations(str(tmp_path / "kept.sqlite3"), is_shared=True)
    served = serve(tiny_bot, kept=kept)
    name = kept.begin().id
    protect(kept)
    failed = say(served, name, "Hi!")
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "store_failed")
    assert str(tmp_path) not in failed.text
    assert contents(served, name) == []


def test_memory_cannot_be_shared():
    with pytest.raises(InputError, match="give --store a FILE"):
        KeptConversations(":memory:", is_shared=True)
