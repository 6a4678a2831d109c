"""Two replicas by Ray Serve, on this machine: one address, the same answers, one store."""

import os
import socket
import threading
from functools import partial

import httpx
import openai
import pytest

from chatbot import Chatbot, Sampling
from chatbot.errors import InputError
from ui.api import scale
from ui.api.scale import Replica
from ui.api.server import Serving
from ui.loading import loading

HI = [{"role": "user", "content": "Hello there!"}]


def replied(metrics):
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    return int(lines.get('chatbot_turns_total{outcome="replied"}', 0))


def counts(url):
    """Replies of each replica, the fewest first: whichever is asked tells its own number."""
    seen = {replied(httpx.get(f"{url}/metrics").text) for _ in range(40)}
    assert len(seen) <= 2
    return min(seen), max(seen)


@pytest.fixture(scope="module")
def replicas(tiny_model_dir, tmp_path_factory):
    """Ray's module and the address of two replicas that have answered nothing yet."""
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: the extra `ray`")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    load = partial(loading, str(tiny_model_dir), "cpu", "float32")
    file = tmp_path_factory.mktemp("kept") / "kept.sqlite3"
    started = scale.start(
        Replica(Serving(max_batch=1), "tiny", load, str(file)),
        host="127.0.0.1", port=port, replicas=2,
    )  # fmt: skip
    try:
        yield started, f"http://127.0.0.1:{port}"
    finally:
        started.shutdown()
        import ray

        ray.shutdown()
        os.environ.pop("RAY_USAGE_STATS_ENABLED", None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_conversation_goes_on_at_another_replica(replicas):
    _, url = replicas
    name = httpx.post(f"{url}/v1/conversations").json()["id"]
    said = []
    for number in range(20):  # chance chooses the replica
        text = f"I am number {number}."
        body = {"messages": [{"role": "user", "content": text}], "conversation": name}
        answer = httpx.post(
            f"{url}/v1/chat/completions",
            json=body | {"candidates": 3, "max_tokens": 8, "trace": True}, timeout=60,
        ).json()  # fmt: skip
        assert answer["trace"]["turns"] == [*said, text]
        said += [text, answer["choices"][0]["message"]["content"]]
        fewest, _ = counts(url)
        if fewest:  # the last turn was the first of this replica; the other had those before
            break
    assert (fewest, number > 0) == (1, True)
    messages = httpx.get(f"{url}/v1/conversations/{name}").json()["messages"]
    assert [one["content"] for one in messages] == said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_replicas_answer_as_one(replicas, tiny_model_dir):
    started, url = replicas
    before = sum(counts(url))
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    bot = Chatbot.load(tiny_model_dir, device="cpu", dtype="float32")
    expected = bot.respond(
        "Hello there!", seed=7, sampling=Sampling(candidates=3, max_new_tokens=8)
    )
    texts = []

    def ask():
        answer = client.chat.completions.create(
            model="tiny", messages=HI, seed=7, max_tokens=8, extra_body={"candidates": 3}
        )
        texts.append(answer.choices[0].message.content)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert texts == [expected.text] * 16
    streamed = client.chat.completions.create(
        model="tiny", messages=HI, seed=7, max_tokens=8, stream=True,
        extra_body={"candidates": 3},
    )  # fmt: skip
    words = [chunk.choices[0].delta.content or "" for chunk in streamed]
    assert "".join(words) == expected.text
    with pytest.raises(openai.BadRequestError, match="no attribute named 'jo'"):
        client.chat.completions.create(
            model="tiny", messages=HI, extra_body={"controls": {"jo": 1}}
        )
    status = started.status().applications[scale.APPLICATION]
    assert status.deployments["replica"].replica_states == {"RUNNING": 2}
    assert sum(counts(url)) - before == 17


def test_without_ray_the_extra_is_named(monkeypatch):
    import builtins

    real = builtins.__import__

    def without_ray(name, *given, **named):
        if name.partition(".")[0] == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(InputError, match=r"install it with .*\[ray\]"):
        scale.start(Replica(Serving(), "x", list), host="127.0.0.1", port=1, replicas=2)
