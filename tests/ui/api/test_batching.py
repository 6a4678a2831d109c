"""Laws of batches: the reply of each is the reply it would get alone; the oldest comes first."""

import copy
import threading
import time

import pytest

from chatbot import Chatbot
from chatbot.backbone import Backbone
from chatbot.controls import Controls
from chatbot.errors import ChatbotError
from chatbot.types import Ranking, Sampling
from ui.api.batching import MOST_ROWS, BatchedBot, Batcher, Job, QueueFullError

SMALL = Sampling(candidates=3, max_new_tokens=8)
CONTROLS = [Controls(), Controls({"joy": 1}), Controls({"anger": -0.5})]


class Recording:
    """The tiny bot; notes its batches and waits before each until it may go on."""

    def __init__(self, bot):
        self._bot = bot
        self.steerer = bot.steerer
        self.batches = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def respond_many(self, conversations, **given):
        self.batches.append([turns[-1] for turns in conversations])
        self.begun.set()
        assert self.go_on.wait(10)
        return self._bot.respond_many(conversations, **given)


@pytest.fixture(scope="module")
def exact_bot(tiny_bot):
    """The tiny bot's weights in float64.

    A product of float32 is rounded differently in batches of different sizes, which now and then
    turns a random choice; here a batch must give what a single call gives, to the piece.
    """
    own = tiny_bot.backbone
    return Chatbot(Backbone(copy.deepcopy(own.model).double(), own.tokenizer, **own.identity))


@pytest.fixture
def bot(exact_bot):
    return Recording(exact_bot)


@pytest.fixture
def start(bot):
    made = []

    def start(**settings):
        made.append(Batcher(bot, **{"window_s": 0.0} | settings))
        return made[-1]

    yield start
    bot.go_on.set()
    for batcher in made:
        batcher.close()


def a_job(text, **given):
    return Job([text], **{"sampling": SMALL, "seed": 5} | given)


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def hold(bot, batcher):
    """Keeps the bot busy with one job, so that those that follow wait together."""
    bot.go_on.clear()
    first = batcher.submit(a_job("busy"))
    assert bot.begun.wait(10)
    return first


def test_replies_of_a_batch_are_those_drawn_alone(bot, exact_bot, start):
    batcher = start(max_batch=8)
    hold(bot, batcher)
    jobs = [
        Job(["Hi!", "Hello.", f"I am number {i}."], CONTROLS[i % 3], seed=i, sampling=SMALL)
        for i in range(8)
    ]
    replies = [batcher.submit(job) for job in jobs]
    bot.go_on.set()
    for job, reply in zip(jobs, replies, strict=True):
        expected = exact_bot.respond(
            job.turns, controls=job.controls, seed=job.seed, sampling=SMALL
        )
        got = reply.result(20)
        assert got.text == expected.text
        assert [one.token_ids for one in got.candidates] == [
            one.token_ids for one in expected.candidates
        ]
        assert (got.trace.turns, got.seed, got.trace.controls) == (
            expected.trace.turns, expected.seed, expected.trace.controls,
        )  # fmt: skip
    assert [len(batch) for batch in bot.batches] == [1, 8]


def test_only_the_like_are_batched_and_nobody_is_passed_over(bot, start):
    batcher = start(max_batch=3)
    hold(bot, batcher)
    cold, novel = Sampling(candidates=3, temperature=0.5), Ranking(novelty=0.5)
    kinds = {"a": {}, "b": {"sampling": cold}, "c": {"ranking": novel}}
    names = ["a1", "b1", "a2", "c1", "a3", "a4", "b2"]
    replies = [batcher.submit(a_job(name, **kinds[name[0]])) for name in names]
    bot.go_on.set()
    for name, reply in zip(names, replies, strict=True):
        assert reply.result(20).trace.turns == (name,)
    assert bot.batches == [["busy"], ["a1", "a2", "a3"], ["b1", "b2"], ["c1"], ["a4"]]


def test_a_batch_waits_for_others_to_join(bot, start):
    batcher = start(window_s=1.0, max_batch=3)
    begin = time.monotonic()
    replies = [batcher.submit(a_job(name)) for name in "abc"]
    for reply in replies:
        reply.result(20)
    assert bot.batches == [["a", "b", "c"]]
    assert time.monotonic() - begin < 1.0  # a full batch does not wait


def test_workers_share_the_requests_evenly(bot, exact_bot, start):
    busy = []
    batcher = start(workers=2, window_s=0.5, before_batch=busy.append)
    bot.go_on.clear()
    jobs = [Job([f"I am number {i}."], CONTROLS[i % 3], seed=i, sampling=SMALL) for i in range(5)]
    replies = [batcher.submit(job) for job in jobs]
    wait_until(lambda: len(bot.batches) == 2)
    bot.go_on.set()
    for job, reply in zip(jobs, replies, strict=True):
        alone = exact_bot.respond(job.turns, controls=job.controls, seed=job.seed, sampling=SMALL)
        assert reply.result(20).candidates == alone.candidates
    assert sorted(map(len, bot.batches)) == [2, 3]
    assert busy == [1, 2]


def test_one_worker_answers_while_another_is_busy(bot, start):
    batcher = start(workers=2)
    first = hold(bot, batcher)
    second = batcher.submit(a_job("second"))
    wait_until(lambda: bot.batches == [["busy"], ["second"]])
    waiting = batcher.submit(a_job("waiting"))
    bot.go_on.set()
    assert all(reply.result(20).text for reply in (first, second, waiting))
    assert batcher.is_alive


def test_a_worker_waits_for_its_share_of_those_that_come_again(bot, start):
    """Four clients, who take a moment for their next message: no batch goes with one of them."""
    batcher = start(workers=2, window_s=0.05)
    for told in ("first", "second"):
        bot.batches.clear()
        bot.go_on.clear()
        replies = []
        for number in range(4):
            replies.append(batcher.submit(a_job(f"{told} {number}")))
            time.sleep(0.005)
        wait_until(lambda: sum(map(len, bot.batches)) == 4)
        bot.go_on.set()
        for reply in replies:
            reply.result(20)
        assert [len(batch) for batch in bot.batches] == [2, 2]


def test_the_rows_of_a_batch_are_bounded(bot, start):
    batcher = start(max_batch=8)
    hold(bot, batcher)
    many = Sampling(candidates=MOST_ROWS // 5, max_new_tokens=1)
    replies = [batcher.submit(a_job(name, sampling=many)) for name in "abcdef"]
    bot.go_on.set()
    for reply in replies:
        reply.result(60)
    assert bot.batches == [["busy"], ["a", "b", "c", "d", "e"], ["f"]]


def test_who_is_gone_takes_no_place_in_queue_or_batch(bot, start):
    batcher = start(max_waiting=2)
    hold(bot, batcher)
    gone, kept = a_job("gone"), a_job("kept")
    batcher.submit(gone)
    batcher.submit(kept)
    with pytest.raises(QueueFullError, match="2 requests wait already") as caught:
        batcher.submit(a_job("more"))
    assert caught.value.retry_after_s >= 1
    gone.cancel()
    more = batcher.submit(a_job("more"))
    bot.go_on.set()
    assert more.result(20).text
    assert bot.batches == [["busy"], ["kept", "more"]]


def test_decoding_goes_on_as_long_as_one_of_the_batch_is_wanted(bot, exact_bot, start):
    batcher = start()
    hold(bot, batcher)
    stays, leaves = a_job("stays"), a_job("leaves")
    leaves.on_progress = lambda progress: leaves.cancel()
    replies = [batcher.submit(job) for job in (stays, leaves)]
    bot.go_on.set()
    assert replies[0].result(20).text == exact_bot.respond("stays", seed=5, sampling=SMALL).text
    assert replies[1].cancelled()


def test_progress_is_that_of_the_request(bot, start):
    batcher = start()
    hold(bot, batcher)
    told = []
    replies = [batcher.submit(a_job(name, on_progress=told.append)) for name in "ab"]
    bot.go_on.set()
    for reply in replies:
        reply.result(20)
    assert {step.candidates for step in told} == {3}
    assert all(step.finished <= 3 for step in told)
    assert max(step.tokens for step in told) <= 8


def test_a_listener_that_fails_fails_alone(bot, start):
    def fail(progress):
        raise RuntimeError("the window is closed")

    batcher = start()
    hold(bot, batcher)
    failing = batcher.submit(a_job("a", on_progress=fail))
    other = batcher.submit(a_job("b"))
    bot.go_on.set()
    assert other.result(20).text
    assert failing.cancelled()
    assert bot.batches == [["busy"], ["a", "b"]]


def test_closing_cancels_what_waits_and_what_is_made(bot, start):
    batcher = start()
    running = hold(bot, batcher)
    waiting = batcher.submit(a_job("waiting"))
    threading.Timer(0.1, bot.go_on.set).start()
    batcher.close()
    assert waiting.cancelled()
    assert running.cancelled()
    assert not batcher.is_alive
    with pytest.raises(ChatbotError, match="is ending"):
        batcher.submit(a_job("late"))


def test_the_page_joins_the_batches(bot, exact_bot, start):
    batcher = start()
    told = []
    reply = BatchedBot(batcher, bot.steerer).respond(
        ["Hi!"], controls=Controls({"joy": 1}), seed=3, sampling=SMALL, on_progress=told.append,
        stop=threading.Event(),
    )  # fmt: skip
    expected = exact_bot.respond(["Hi!"], controls={"joy": 1}, seed=3, sampling=SMALL)
    assert (reply.text, reply.trace) == (expected.text, expected.trace)
    assert told


@pytest.mark.parametrize("is_running", [False, True])
def test_the_page_can_stop_its_reply(bot, start, is_running):
    batcher = start()
    if not is_running:
        hold(bot, batcher)
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    step = (lambda progress: time.sleep(0.05)) if is_running else None
    reply = BatchedBot(batcher, bot.steerer).respond(
        ["Hi!"], sampling=Sampling(candidates=3, max_new_tokens=128), on_progress=step, stop=stop
    )
    assert reply.stopped
