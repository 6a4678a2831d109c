"""Two replicas by Ray Serve, on this machine: one address, the same answers."""

import os
import socket
import threading

import httpx
import openai
import pytest

from chatbot import Chatbot, Sampling
from chatbot.errors import InputError
from ui.api import scale
from ui.api.server import Serving

HI = [{"role": "user", "content": "Hello there!"}]


def replied(metrics):
    lines = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    return int(lines.get('chatbot_turns_total{outcome="replied"}', 0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_replicas_answer_as_one(tiny_model_dir):
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: the extra `ray`")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    started = scale.start(
        Serving(max_batch=1), name="tiny", model=str(tiny_model_dir), device="cpu",
        host="127.0.0.1", port=port, replicas=2,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        bot = Chatbot.load(tiny_model_dir, device="cpu")  # in the numbers that replicas choose
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
        # Each replica counts its own replies; whichever is asked tells its number.
        counts = {replied(httpx.get(f"{url}/metrics").text) for _ in range(60)}
        assert len(counts) == 2
        assert sum(counts) == 17
    finally:
        started.shutdown()
        import ray

        ray.shutdown()
        os.environ.pop("RAY_USAGE_STATS_ENABLED", None)


def test_without_ray_the_extra_is_named(monkeypatch):
    import builtins

    real = builtins.__import__

    def without_ray(name, *given, **named):
        if name.partition(".")[0] == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(InputError, match=r"install it with .*\[ray\]"):
        scale.start(
            Serving(), name="x", model=None, device="cpu", host="127.0.0.1", port=1, replicas=2
        )
