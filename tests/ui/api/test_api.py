"""The service as OpenAI's own client sees it, on loopback, with a tiny real bot."""

import json
import re
import threading
import time
from concurrent.futures import Future

import httpx
import openai
import pytest

from chatbot import Controls, Sampling, Schedule
from ui.api.schema import SYSTEM_NOTE

HI = [{"role": "user", "content": "Hello there!"}]
SMALL = {"max_tokens": 8, "extra_body": {"candidates": 3}}


def ask(client, messages=HI, **given):
    extra = SMALL["extra_body"] | given.pop("extra_body", {})
    return client.chat.completions.create(
        **{"model": "tiny", "messages": messages, "max_tokens": 8, "seed": 7, **given},
        extra_body=extra,
    )


def text_part(text):
    return {"type": "text", "text": text}


def alone(tiny_bot, turns="Hello there!", controls=None, seed=7, **sampling):
    sampling = Sampling(**{"candidates": 3, "max_new_tokens": 8} | sampling)
    return tiny_bot.respond(turns, controls=controls, seed=seed, sampling=sampling)


# -- answers


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "controllable-chatbot"
    with pytest.raises(openai.NotFoundError, match="'gpt' is not served; there is 'tiny'"):
        client.models.retrieve("gpt")


def test_an_answer_is_that_of_the_library(client, tiny_bot):
    answer, expected = ask(client), alone(tiny_bot)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == expected.text
    assert (
        choice.finish_reason == {"end": "stop", "length": "length"}[expected.candidates[0].finish]
    )
    assert answer.usage.prompt_tokens == len(expected.trace.prompt_ids)
    assert answer.usage.completion_tokens == len(expected.candidates[0].token_ids)
    assert answer.usage.total_tokens == (
        answer.usage.prompt_tokens + answer.usage.completion_tokens
    )
    assert (answer.object, answer.model, answer.seed) == ("chat.completion", "tiny", 7)


def test_a_drawn_seed_repeats_the_answer(client):
    first = ask(client, seed=None)
    assert ask(client, seed=first.seed).choices == first.choices


def test_settings_reach_the_bot(client, tiny_bot):
    given = ask(client, temperature=0.5, top_p=0.9, max_tokens=5, extra_body={"candidates": 4})
    expected = alone(tiny_bot, temperature=0.5, top_p=0.9, max_new_tokens=5, candidates=4)
    assert given.choices[0].message.content == expected.text


def test_a_conversation_is_read_turn_by_turn(client):
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "Hi!"},
        {"role": "user", "content": [text_part("Are you "), text_part("there?")]},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Good."},
    ]  # fmt: skip
    answer = ask(client, messages, extra_body={"trace": True})
    assert answer.trace["turns"] == ["Hi! Are you there?", "Yes.", "Good."]
    assert SYSTEM_NOTE in answer.notes


def test_more_tokens_than_the_model_writes_are_no_limit(client):
    answer = ask(client, max_tokens=None, max_completion_tokens=4096, extra_body={"trace": True})
    assert answer.trace["sampling"]["max_new_tokens"] == 128


def test_alternatives_are_the_next_best_candidates(client, tiny_bot):
    anything = "?!"  # to which a reply may be in any language
    expected = alone(tiny_bot, anything, candidates=12)
    kept = [one.text for one in expected.candidates if one.dropped is None and one.text]
    said = [{"role": "user", "content": anything}]
    answer = ask(client, said, n=4, extra_body={"candidates": 12})
    assert [choice.index for choice in answer.choices] == list(range(len(answer.choices)))
    assert [choice.message.content for choice in answer.choices] == kept[:4]
    assert len(kept) >= 4


def test_a_stop_sequence_ends_the_answer_before_it(client, tiny_bot):
    text = alone(tiny_bot).text
    stop = text[2:4]
    (choice,) = ask(client, stop=["never said", stop]).choices
    assert choice.message.content == text[: text.index(stop)]
    assert choice.finish_reason == "stop"


def test_the_trace_comes_when_asked_for(client, tiny_bot):
    assert not hasattr(ask(client), "trace")
    answer = ask(client, extra_body={"trace": True, "controls": {"joy": 1}})
    expected = alone(tiny_bot, controls={"joy": 1}).to_dict()
    assert answer.trace == json.loads(json.dumps(expected["trace"]))
    assert answer.candidates == json.loads(json.dumps(expected["candidates"]))
    assert answer.timings["total"] > 0


# -- controls


@pytest.mark.parametrize(
    ("body", "controls"),
    [
        ({"controls": {"joy": 0.5, "anger": -1}}, Controls({"joy": 0.5, "anger": -1})),
        (
            {"controls": {"strengths": {"joy": 1}, "spread": [1], "kl_limit": 5}},
            Controls({"joy": 1}, spread=(1,), kl_limit=5),
        ),
        (
            {"schedule": {"anger": {"points": [[1, 0.5], [4, 1]]}}},
            Controls(schedule=Schedule.piecewise("anger", [(1, 0.5), (4, 1)])),
        ),
        ({"preset": "cheerful"}, Controls({"joy": 0.6, "positive": 0.4})),
        (
            {"preset": "cheerful", "controls": {"joy": 0.2, "game": 1}},
            Controls({"joy": 0.2, "positive": 0.4, "game": 1}),
        ),
        ({"preset": {"controls": {"fear": 1}}}, Controls({"fear": 1})),
    ],
)
def test_controls_in_the_body_are_those_of_the_library(client, tiny_bot, body, controls):
    answer = ask(client, extra_body={"trace": True, **body})
    expected = alone(tiny_bot, controls=controls)
    assert answer.choices[0].message.content == expected.text
    assert answer.trace["controls"]["strengths"] == dict(controls.strengths)
    assert answer.trace["steering"] == json.loads(
        json.dumps(expected.to_dict()["trace"]["steering"])
    )


def test_zero_strength_changes_nothing(client):
    zero = ask(client, extra_body={"controls": {"joy": 0.0}})
    assert zero.choices == ask(client).choices


def test_sampling_of_a_preset_yields_to_that_of_the_request(client):
    preset = {
        "name": "cold",
        "sampling": {"temperature": 0.3, "candidates": 5, "max_new_tokens": 6},
    }
    answer = ask(client, extra_body={"trace": True, "preset": preset}, temperature=0.4)
    sampling = answer.trace["sampling"]
    assert (sampling["temperature"], sampling["candidates"]) == (0.4, 3)


# -- streams


def test_streamed_words_joined_are_the_answer(client):
    plain = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    words = [chunk.choices[0].delta.content for chunk in chunks[:-1]]
    assert "".join(word or "" for word in words) == plain.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == plain.choices[0].finish_reason
    assert (chunks[-1].choices, chunks[-1].usage) == ([], plain.usage)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_a_stream_holds_every_alternative(client):
    plain = ask(client, n=2, extra_body={"candidates": 8})
    texts = {}
    for chunk in ask(client, n=2, stream=True, extra_body={"candidates": 8}):
        (choice,) = chunk.choices
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert list(texts.values()) == [choice.message.content for choice in plain.choices]


def test_the_progress_of_a_stream_is_told_in_comments(served):
    body = {"messages": HI, "stream": True, "candidates": 3, "max_tokens": 8, "seed": 7}
    answer = served.post(body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == (
        "no-cache",
        "no",
    )
    events = answer.text.split("\n\n")
    assert any(event.startswith(": 3 candidates, token ") for event in events)
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event[:2] == ": " or event[:6] == "data: " for event in events[:-1])


# -- refusals


@pytest.mark.parametrize(
    ("changes", "status", "expected"),
    [
        ({"controls": {"jo": 1}}, 400, "no attribute named 'jo'; known: anger, crime"),
        ({"controls": {"joy": 2}}, 400, "strength of joy is 2; give a number from -1 to 1"),
        ({"controls": {"joy": "1"}}, 400, "strength of joy is '1'"),
        ({"controls": {"strengths": {}, "colour": 1}}, 400, "no 'colour'; known: strengths"),
        ({"schedule": {"joy": 1}}, 400, "this is no schedule"),
        ({"preset": "grumpy"}, 400, "no preset named 'grumpy'; known: cheerful, calm"),
        ({"preset": {"x": 1}}, 400, "the preset has no 'x'"),
        ({"candidates": 0}, 400, "candidates is 0"),
        ({"candidates": 65}, 400, "at most 64 are drawn here"),
        ({"temperature": -1}, 400, "temperature is -1"),
        ({"top_p": 2}, 400, "top_p is 2"),
        ({"n": 4}, 400, "n is 4, more than the 3 candidates"),
        ({"seed": -1}, 400, "seed: "),
        ({"seed": 2**63}, 400, "seed: "),
        ({"model": "gpt-4"}, 404, "'gpt-4' is not served; there is 'tiny'"),
        ({"messages": []}, 400, "messages: "),
        ({"messages": [{"role": "user", "content": " \u200b"}]}, 400, "the message is empty"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, 400, "only text is"),
        ({"messages": [*HI, {"role": "assistant", "content": "Yes?"}]}, 400, "end with the one"),
        ({"messages": HI * 257}, 400, "there are 257 messages, at most 256"),
        ({"messages": [{"role": "user", "content": "x" * 100_001}]}, 400, "100001 characters"),
        ({"tools": [{"type": "function"}]}, 400, "tools is not supported"),
        ({"logprobs": True}, 400, "logprobs is not supported"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format is not supported"),
        ({"frequency_penalty": 0.5}, 400, "frequency_penalty is not supported"),
        ({"control": {}}, 400, "no field 'control'; known: .*controls"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_words(served, changes, status, expected):
    answer = served.post({"messages": HI, "candidates": 3, **changes})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert re.search(expected, error["message"]), error


def test_the_client_raises_its_own_errors(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, extra_body={"controls": {"jo": 1}})
    assert (caught.value.code, caught.value.param) == ("unknown_control", "controls")
    with pytest.raises(openai.NotFoundError):
        ask(client, model="gpt-4")


def test_neutral_values_and_what_is_not_read_are_taken(client):
    given = {
        "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "tools": [],
        "response_format": {"type": "text"}, "user": "ann", "metadata": {"a": "b"}, "store": False,
    }  # fmt: skip
    assert ask(client, **given).choices == ask(client).choices


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"messages": NaN}', b"null"]
)
def test_what_is_no_json_object_is_refused(served, body):
    answer = served.post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_other_routes_are_told_of(served):
    answer = httpx.get(f"{served.url}/v1/embeddings")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert httpx.get(f"{served.url}/v1/chat/completions").status_code == 405


# -- limits


def test_without_the_key_nothing_of_v1_is_answered(serve, tiny_bot):
    served = serve(tiny_bot, api_key="sésame")
    with pytest.raises(openai.AuthenticationError, match="API key is missing or wrong"):
        ask(served.client(api_key="wrong"))
    assert httpx.get(f"{served.url}/v1/models").status_code == 401
    right = {"Authorization": "Bearer sésame".encode()}
    body = {"messages": HI, "candidates": 3}
    assert served.post(body, headers=right).status_code == 200
    assert [httpx.get(served.url + path).status_code for path in ("/healthz", "/metrics")] == [
        200
    ] * 2


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_request_is_refused_before_it_is_read(serve, tiny_bot, is_chunked):
    served = serve(tiny_bot, max_body=1000)
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 2000}]}).encode()
    parts = (body[start : start + 100] for start in range(0, len(body), 100))
    answer = served.post(body, content=parts) if is_chunked else served.post(body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


class SlowBot:
    """Answers as the tiny bot, but each step waits to be let through, or for `step_s`."""

    def __init__(self, bot):
        self._bot, self.backbone = bot, bot.backbone
        self.step_s = 0.05
        self.steps = 0
        self.batches = []
        self.stopped = []
        self.at_step = threading.Event()
        self.go_on = threading.Event()

    def check(self, controls):
        self._bot.check(controls)

    def respond_many(self, conversations, *, on_progress, **given):
        def step(progress):
            self.steps += 1
            self.at_step.set()
            self.go_on.wait(self.step_s)
            on_progress(progress)

        self.batches.append([turns[-1] for turns in conversations])
        replies = self._bot.respond_many(conversations, on_progress=step, **given)
        self.stopped.append(all(reply.stopped for reply in replies))
        return replies


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def in_background(function, *given, **named):
    thread = threading.Thread(target=function, args=given, kwargs=named, daemon=True)
    thread.start()
    return thread


def test_a_full_queue_is_told_with_the_time_to_come_again(serve, tiny_bot):
    bot = SlowBot(tiny_bot)
    bot.step_s = 20
    served = serve(bot, max_queue=2, max_batch=1, workers=1)
    body = {"messages": HI, "candidates": 2, "max_tokens": 10}
    statuses = []
    first = in_background(lambda: statuses.append(served.post(body).status_code))
    assert bot.at_step.wait(10)
    others = [in_background(lambda: statuses.append(served.post(body).status_code)) for _ in "ab"]
    wait_for(lambda: served.service.batcher.depth == 2)
    refused = served.post(body)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "queue_full"
    with pytest.raises(openai.RateLimitError):
        ask(served.client())
    bot.go_on.set()
    for thread in (first, *others):
        thread.join(30)
    assert statuses == [200] * 3


@pytest.mark.parametrize("is_streamed", [False, True])
def test_when_the_client_goes_decoding_stops(serve, tiny_bot, is_streamed):
    bot = SlowBot(tiny_bot)
    served = serve(bot)
    body = {"messages": HI, "candidates": 2, "max_tokens": 128, "stream": is_streamed, "seed": 1}
    with httpx.Client() as client:
        request = client.build_request("POST", f"{served.url}/v1/chat/completions", json=body)
        if is_streamed:
            answer = client.send(request, stream=True)
            assert bot.at_step.wait(10)
            answer.close()
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(request.url, json=body, timeout=0.3)
    wait_for(lambda: bot.stopped)
    assert bot.stopped == [True]
    assert bot.steps < 40
    wait_for(lambda: served.metric('chatbot_turns_total{outcome="client_gone"}') == 1)
    bot.go_on.set()
    assert served.post({"messages": HI, "candidates": 2}).status_code == 200


def test_who_goes_while_waiting_is_never_answered(serve, tiny_bot):
    bot = SlowBot(tiny_bot)
    served = serve(bot, max_batch=1, workers=1)
    body = {"messages": [{"role": "user", "content": "first"}], "candidates": 2, "max_tokens": 60}
    first = in_background(served.post, body)
    assert bot.at_step.wait(10)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{served.url}/v1/chat/completions", json={"messages": HI}, timeout=0.2)
    bot.go_on.set()
    first.join(30)
    assert served.post({"messages": HI, "candidates": 2}).status_code == 200
    assert bot.batches == [["first"], ["Hello there!"]]


class FailingBot(SlowBot):
    """Fails where a person says "fail"."""

    def respond_many(self, conversations, **given):
        if any(turns[-1] == "fail" for turns in conversations):
            raise RuntimeError("a secret of the machine")
        return self._bot.respond_many(conversations, **given)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_failure_is_told_without_its_secrets(serve, tiny_bot, is_streamed, caplog):
    served = serve(FailingBot(tiny_bot))
    body = {"messages": [{"role": "user", "content": "fail"}], "stream": is_streamed}
    answer = served.post(body)
    assert answer.status_code == (200 if is_streamed else 500)
    assert "secret" not in answer.text
    assert "the log of the service says why" in answer.text
    if is_streamed:
        *_, error, done, _ = answer.text.split("\n\n")
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "internal_error"
        assert done == "data: [DONE]"
        with pytest.raises(openai.APIError, match="could not be made"):
            list(ask(served.client(), body["messages"], stream=True))
    assert served.metric('chatbot_turns_total{outcome="failed"}') >= 1
    assert served.post({"messages": HI, "candidates": 2}).status_code == 200


def test_a_failing_request_does_not_fail_its_neighbours(serve, tiny_bot):
    served = serve(FailingBot(tiny_bot), batch_window_s=0.5, workers=1)
    texts = ["one", "fail", "two"]
    answers = {}

    def say(text):
        body = {"messages": [{"role": "user", "content": text}], "candidates": 3, "max_tokens": 8}
        answers[text] = served.post(body | {"seed": 3})

    for thread in [in_background(say, text) for text in texts]:
        thread.join(30)
    assert {text: answers[text].status_code for text in texts} == {
        "one": 200,
        "fail": 500,
        "two": 200,
    }
    for text in ("one", "two"):
        content = answers[text].json()["choices"][0]["message"]["content"]
        assert content == alone(tiny_bot, text, seed=3).text


# -- around it


def test_while_the_model_loads_it_is_alive_and_not_ready(serve, tiny_bot):
    loading = Future()
    served = serve(loading)
    assert httpx.get(f"{served.url}/healthz").status_code == 200
    assert httpx.get(f"{served.url}/readyz").status_code == 503
    refused = served.post({"messages": HI})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    loading.set_result(tiny_bot)
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert served.post({"messages": HI, "candidates": 2}).status_code == 200


def test_a_model_that_cannot_be_loaded_is_told(serve):
    loading = Future()
    served = serve(loading)
    loading.set_exception(RuntimeError("no such file"))
    ready = httpx.get(f"{served.url}/readyz")
    assert (ready.status_code, "could not be loaded" in ready.text) == (503, True)


def test_metrics_are_in_the_form_of_prometheus(serve, tiny_bot):
    served = serve(tiny_bot)
    ask(served.client())
    served.post(b"{")
    text = httpx.get(f"{served.url}/metrics").text
    sample = r'[a-z_]+(\{[a-z]+="[^"]*"\})? [-+0-9.e]+'
    assert all(re.fullmatch(rf"# (HELP|TYPE) .+|{sample}", line) for line in text.splitlines())
    assert served.metric('chatbot_turns_total{outcome="replied"}') == 1
    assert served.metric('chatbot_http_requests_total{status="400"}') == 1
    assert served.metric("chatbot_turn_seconds_count") == 1
    assert served.metric("chatbot_first_token_seconds_count") == 1
    assert served.metric('chatbot_batch_size_bucket{le="1"}') == 1
    assert served.metric("chatbot_tokens_total") > 0
    assert served.metric("chatbot_queue_depth") == 0


def test_clients_do_not_see_each_other(client):
    """Nothing is kept between requests: the second one knows nothing of the first."""
    ask(client, [{"role": "user", "content": "My secret is a purple giraffe."}])
    second = ask(client, extra_body={"trace": True})
    assert second.trace["turns"] == ["Hello there!"]
    assert second.choices == ask(client).choices
