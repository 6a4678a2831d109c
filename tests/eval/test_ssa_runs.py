"""Laws of letting bots answer: any bot, the protocol's lengths, seeds, gone on with."""

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chatbot.bot import Chatbot
from chatbot.controls import Controls
from chatbot.errors import InputError, ModelError
from chatbot.types import Sampling
from eval.ssa.bots import FileBot, ModelBot, ServerBot, Settings, open_bot
from eval.ssa.compare import compare
from eval.ssa.results import read_system
from eval.ssa.runs import CONTEXTS, append_conversation, run_self_chat, run_static, talk
from eval.ssa.table import ARMS, Arm, pick_arms, run_arms, table, without_ethics

sys.path.insert(0, str(Path(__file__).parent))
try:
    from ssa_fake import FakeScorer
finally:
    sys.path.pop(0)

CONTEXT_LINES = [
    {"id": i, "context": ["Hi", "Hello", f"What of {i}?"][-1 - i % 3 :]} for i in range(19)
]
SMALL = Settings(sampling=Sampling(candidates=2, max_new_tokens=4))


class EchoBot:
    """Says what it was asked, how often it was asked, and the seed."""

    def __init__(self, name="echo", fail_at=None):
        self.identity = {"name": name}
        self.asked = 0
        self._fail_at = fail_at

    def answer(self, turns, seed):
        self.asked += 1
        if self.asked == self._fail_at:
            raise ModelError("gone")
        return f"{len(turns)} turns, seed {seed}"


@pytest.fixture
def contexts(write_jsonl):
    return write_jsonl("contexts.jsonl", CONTEXT_LINES)


def test_every_context_has_a_scored_response_and_its_origin(contexts, read_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    assert run_static(EchoBot(), FakeScorer(), out, contexts=contexts, seed=40) == 19
    digest = hashlib.sha256(contexts.read_bytes()).hexdigest()
    for place, (before, after) in enumerate(zip(CONTEXT_LINES, read_jsonl(out), strict=True)):
        assert after.items() >= before.items()
        assert after["response"] == f"{len(before['context'])} turns, seed {40 + place}"
        assert after["contexts"] == {"file": "contexts.jsonl", "sha256": digest}
        assert 0 <= after["specific"] <= after["sensible"] <= 1
    assert read_system(out).name == "echo"


def test_a_run_that_failed_is_gone_on_with_to_the_same_bytes(contexts, tmp_path):
    whole, parts = tmp_path / "a", tmp_path / "b"
    run_static(EchoBot(), FakeScorer(), whole, contexts=contexts)
    with pytest.raises(ModelError, match=r"contexts\.jsonl, line 12: gone"):
        run_static(EchoBot(fail_at=12), FakeScorer(), parts, contexts=contexts)
    assert parts.read_bytes().count(b"\n") == 8
    assert run_static(EchoBot(), FakeScorer(), parts, contexts=contexts) == 11
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bot": EchoBot("other")}, "made with bot"),
        ({"seed": 1}, "made with seed 0, now it is 1"),
        ({"scorer": FakeScorer("other")}, "made with scorer"),
    ],
)
def test_other_settings_do_not_go_on(contexts, tmp_path, change, message):
    out = tmp_path / "out"
    run_static(EchoBot(), FakeScorer(), out, contexts=contexts)
    settings = {"bot": EchoBot(), "scorer": FakeScorer(), "seed": 0} | change
    with pytest.raises(InputError, match=message):
        run_static(settings["bot"], settings["scorer"], out, contexts=contexts,
                   seed=settings["seed"])  # fmt: skip


def test_self_chat_holds_to_the_protocol_and_goes_on(read_jsonl, tmp_path):
    whole, parts = tmp_path / "a", tmp_path / "b"
    assert run_self_chat(EchoBot(), FakeScorer(), whole, conversations=3, turns=15) == 3
    for number, record in enumerate(read_jsonl(whole)):
        assert record["turns"][0] == "Hi!"
        assert len(record["turns"]) == 15
        assert record["turns"][4] == f"4 turns, seed {1000 * number + 4}"
        assert [one["turn"] for one in record["responses"]] == list(range(1, 15))
    parts.write_bytes(whole.read_bytes()[:-30])
    assert run_self_chat(EchoBot(), FakeScorer(), parts, conversations=3, turns=15) == 1
    assert parts.read_bytes() == whole.read_bytes()
    for turns in (13, 29):
        with pytest.raises(InputError, match="give 14 to 28"):
            run_self_chat(EchoBot(), FakeScorer(), parts, conversations=1, turns=turns)


def test_a_person_talks_until_28_turns_or_leaves(read_jsonl, tmp_path):
    said = []
    turns = talk(EchoBot(), seed=0, read=lambda: "Well", say=said.append)
    assert len(turns) == 28
    assert (said[0], turns[0]) == ("you> Hi!", "Hi!")
    lines = iter(["a", " ", "b", None])
    assert len(talk(EchoBot(), seed=0, read=lambda: next(lines), say=said.append)) == 6
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        append_conversation(FakeScorer(), EchoBot(), turns, 0, out)
    records = read_jsonl(out)
    assert [record["id"] for record in records] == ["person-0001", "person-0002"]
    assert [one["turn"] for one in records[0]["responses"]] == list(range(1, 28, 2))


# -- bots


def test_a_model_answers_as_respond_does(tiny_backbone, contexts, read_jsonl, tmp_path):
    settings = Settings(Controls({"joy": 0.5}), SMALL.sampling)
    bot = ModelBot(Chatbot(tiny_backbone), settings, name="tiny")
    run_static(bot, FakeScorer(), tmp_path / "out", contexts=contexts, limit=2, seed=7)
    second = read_jsonl(tmp_path / "out")[1]
    reply = Chatbot(tiny_backbone).respond(
        CONTEXT_LINES[1]["context"], controls={"joy": 0.5}, seed=8, sampling=SMALL.sampling
    )
    assert second["response"] == reply.text
    assert second["bot"]["controls"]["strengths"] == {"joy": 0.5}
    assert second["bot"]["model"] == tiny_backbone.identity
    run_static(bot, FakeScorer(), tmp_path / "out", contexts=contexts, limit=3, seed=7)


def test_a_file_answers_by_context(contexts, write_jsonl, read_jsonl, tmp_path):
    answers = [c | {"response": f"to {c['id']}"} for c in reversed(CONTEXT_LINES)]
    # Contexts that are the same have the same answer: the last one in the file.
    bot = open_bot(str(write_jsonl("answers.jsonl", answers)), Settings())
    assert isinstance(bot, FileBot)
    assert bot.answer(CONTEXT_LINES[2]["context"], 0).startswith("to ")
    with pytest.raises(InputError, match="has no answer to the context that ends 'Never'"):
        bot.answer(["Never"], 0)
    with pytest.raises(InputError, match="a file of answers takes no controls"):
        open_bot(str(tmp_path / "answers.jsonl"), SMALL)


class Handler(BaseHTTPRequestHandler):
    """A server that fails as its list says, then answers."""

    def do_GET(self):
        self._send(200, {"data": [{"id": "small"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        status = self.server.fails.pop(0) if self.server.fails else 200
        if status == 200:
            last = body["messages"][-1]["content"]
            content = {"role": "assistant", "content": f"You said {last}"}
            self._send(200, {"choices": [{"message": content}]})
        elif status == 299:
            self._send(200, {"choices": []})
        else:
            self._send(status, {"error": {"message": "not now"}})

    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen, server.fails = [], []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_server_is_asked_in_openai_shapes(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k-1")
    bot = open_bot(server.url, Settings())
    assert bot.identity == {"name": "small", "url": server.url, "model": "small"}
    assert bot.answer(["Hi!", "Hello", "So?"], 5) == "You said So?"
    ((path, key, body),) = server.seen
    assert (path, key) == ("/v1/chat/completions", "Bearer k-1")
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert (body["model"], body["seed"]) == ("small", 5)


def test_a_busy_server_is_asked_again(server):
    server.fails = [503, 429]
    bot = ServerBot(server.url, wait_s=0.01)
    assert bot.answer(["Hi!"], 0) == "You said Hi!"
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("fails", "message", "asked"),
    [
        ([500] * 9, "status 500, not now, 4 times; see that the server runs", 4),
        ([401], "status 401, not now; put the key into the environment variable OPENAI", 1),
        ([404], "status 404, not now; check the URL and --bot-model", 1),
        ([299], "no choices", 1),
    ],
)
def test_a_server_that_fails_is_told(server, fails, message, asked):
    server.fails = fails
    bot = ServerBot(server.url, wait_s=0.001)
    with pytest.raises(ModelError, match=message):
        bot.answer(["Hi!"], 0)
    assert len(server.seen) == asked


def test_no_server_is_told(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match=r"ConnectError.*2 times"):
        ServerBot(server.url, wait_s=0.001, tries=2)


# -- the table


def test_the_arms_run_compare_and_go_on(tiny_backbone, contexts, tmp_path):
    bot = Chatbot(tiny_backbone)
    arms = [Arm("plain", SMALL), Arm("joy-1", Settings(Controls({"joy": 1.0}), SMALL.sampling))]
    systems = run_arms(bot, FakeScorer(), tmp_path / "arms", arms, contexts=contexts, limit=4)
    text = table(systems, command="chatbot eval ssa table", resamples=1000)
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")] == [
        "arm", "plain", "joy-1",
    ]  # fmt: skip
    expected = compare(*systems, resamples=1000).differences[2]
    assert f"{expected.value:+.3f} {expected.interval}" in text
    assert tiny_backbone.identity["digest"][:16] in text
    before = (tmp_path / "arms" / "joy-1.jsonl").read_bytes()
    run_arms(bot, FakeScorer(), tmp_path / "arms", arms, contexts=contexts, limit=4)
    assert (tmp_path / "arms" / "joy-1.jsonl").read_bytes() == before


def test_leaving_out_the_ethics_filter_leaves_the_bot_as_it_is(tiny_backbone, contexts, tmp_path):
    bot = Chatbot(tiny_backbone)
    with pytest.raises(InputError, match="no ethics filter; leave the arm bare out"):
        run_arms(bot, FakeScorer(), tmp_path / "arms", [Arm("bare", SMALL, False)])
    bot.ethics = object()
    bare = without_ethics(bot)
    assert (bare.ethics, bot.ethics is None) == (None, False)
    assert bare.backbone is bot.backbone
    assert not ModelBot(bare, SMALL, name="x").identity["ethics"]
    assert ModelBot(bot, SMALL, name="x").identity["ethics"]


def test_the_arms_of_the_table():
    assert len(ARMS) == 4 + 6 * 2
    assert [arm.name for arm in pick_arms(["joy-1"])] == ["plain", "joy-1"]
    assert pick_arms([]) == list(ARMS)
    with pytest.raises(InputError, match="no arm is called 'joy-2'"):
        pick_arms(["joy-2"])


def test_the_shipped_contexts_are_many_and_of_three_lengths():
    contexts = [json.loads(line)["context"] for line in CONTEXTS.read_text("utf-8").splitlines()]
    assert len(contexts) >= 200
    assert {len(context) for context in contexts} == {1, 2, 3}
