"""What the service bears: malformed requests, and many turns without growing."""

import gc
import json
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

log = logging.getLogger(__name__)  # seen with --log-cli-level=INFO

HI = {"messages": [{"role": "user", "content": "Hello there!"}], "candidates": 2, "max_tokens": 4}

FLOOD_S = 60
PER_SECOND = 50
SOAK_TURNS = 1_000
WARM_UP_TURNS = 1_000
"""As many, since what is bounded fills slowly: vectors of 4,096 texts, products of each size
(`chatbot.even_rows`), pages of mapped weights. They add 7 % in the thousand turns after 200."""


def malformed(chance):
    """A method, a path, headers and a body that are wrong in some way, or nearly right."""
    paths = ["/v1/chat/completions"] * 6 + ["/v1/models", "/v1/x", "/", "/metrics", "/v1/../x"]
    paths += ["/v1/conversations", "/v1/conversations/x", "/v1/conversations/conv_" + "0" * 48]
    method = chance.choice(["POST"] * 6 + ["GET", "PUT", "DELETE", "OPTIONS"])
    return method, chance.choice(paths), a_header(chance), a_body(chance)


def a_header(chance):
    return chance.choice([
        {}, {"content-type": "text/plain"}, {"content-type": "application/json; charset=x"},
        {"authorization": "Bearer " + "x" * 5000}, {"content-encoding": "gzip"},
        {"accept": "text/event-stream"}, {"x": "\u00e9".encode("latin-1")},
    ])  # fmt: skip


def a_body(chance):
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    text = json.dumps(HI | {a_key(chance): a_value(chance, 3) for _ in range(3)})
    if kind == 1:
        return text[: chance.randrange(len(text))].encode()
    if kind == 2:
        place = chance.randrange(len(text))
        return (text[:place] + chr(chance.randrange(1, 0xD800)) + text[place:]).encode()
    if kind == 3:
        depth = chance.randrange(1, 20_000)
        return b'{"messages":' + b"[" * depth + b"]" * depth + b"}"
    if kind == 4:
        return b'{"messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 6000 + b"}"
    return text.encode()


def a_key(chance):
    return chance.choice([
        "messages", "model", "stream", "stream_options", "temperature", "top_p", "max_tokens",
        "stop", "seed", "n", "controls", "schedule", "preset", "candidates", "trace", "tools", "x",
        "conversation",
    ])  # fmt: skip


def a_value(chance, depth):
    kinds = [None, True, 0, -1, 2**63, 10**5000, 1e308, float("nan"), float("inf"), "", "\x00",
             "joy", "\ud800", "x" * 1000, "cheerful", "../../x"]  # fmt: skip
    if depth and chance.random() < 0.5:
        inner = [a_value(chance, depth - 1) for _ in range(chance.randrange(3))]
        keys = ["joy", "role", "content", "strengths", "points", "spread", "anger"]
        return inner if chance.random() < 0.5 else {chance.choice(keys): one for one in inner}
    value = chance.choice(kinds)
    return 10**4000 if value == 10**5000 else value  # what Python itself still writes


def send(url, request):
    """The status, or None where the server ended the connection or was not waited for."""
    method, path, headers, body = request
    try:
        answer = httpx.request(method, url + path, headers=headers, content=body, timeout=20)
    except httpx.HTTPError:
        return None
    if answer.status_code >= 400 and path.startswith(("/v1/chat", "/v1/conv")):
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return answer.status_code


def statuses_of(url, requests):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda request: send(url, request), requests))


def test_no_malformed_request_is_the_services_fault(served):
    chance = random.Random(0)
    statuses = statuses_of(served.url, [malformed(chance) for _ in range(150)])
    assert [status for status in statuses if status is None or status >= 500] == []
    assert served.post(HI).status_code == 200


@pytest.mark.slow
def test_the_service_answers_after_a_minute_of_malformed_requests(served):
    """50 a second for a minute, by 16 clients; an honest client asks meanwhile."""
    chance, begin = random.Random(1), time.monotonic()
    honest, statuses, late_s = [], [], []

    def ask_honestly():
        while time.monotonic() - begin < FLOOD_S:
            honest.append(served.post(HI).status_code)
            time.sleep(0.5)

    asking = threading.Thread(target=ask_honestly)
    asking.start()
    with ThreadPoolExecutor(16) as pool:
        futures = []
        for number in range(FLOOD_S * PER_SECOND):
            due = begin + number / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
            late_s.append(time.monotonic() - due)
            futures.append(pool.submit(send, served.url, malformed(chance)))
        statuses = [future.result() for future in futures]
    asking.join()
    took_s = time.monotonic() - begin
    counts = {status: statuses.count(status) for status in sorted(set(statuses), key=str)}
    log.info(f"{len(statuses)} requests in {took_s:.1f} s: {counts}; honest {len(honest)}")
    assert not any(status is None or status in range(500, 600) for status in statuses)
    assert set(honest) == {200}
    assert served.post(HI).status_code == 200


def resident_bytes():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_thousand_turns_do_not_grow_the_memory(served):
    """Conversations of ten turns with controls, plain and streamed, by four clients."""

    def turns(count):
        def one(number):
            spoken = [{"role": ("user", "assistant")[i % 2], "content": f"Turn {number} {i}."}
                      for i in range(2 * (number % 10) + 1)]  # fmt: skip
            body = HI | {"messages": spoken, "stream": number % 2 == 0, "trace": number % 3 == 0}
            body["controls"] = {"joy": (number % 5) / 5}
            return served.post(body).status_code

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, range(count)))

    assert set(turns(WARM_UP_TURNS)) == {200}
    before = resident_bytes()
    assert set(turns(SOAK_TURNS)) == {200}
    after = resident_bytes()
    growth = after / before - 1
    log.info(f"{before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after: {growth:+.2%}")
    assert growth < 0.05
