"""Laws of a reply made in another thread: it ends when nobody listens, and never hangs."""

import threading
from concurrent.futures import Future

import pytest

from chatbot.errors import ModelError
from chatbot.types import Progress, Reply
from ui.turns import Settings, Turns


def finished(bot):
    future = Future()
    future.set_result(bot)
    return future


def test_the_reply_comes_last(bot):
    bot.go_on.clear()
    events = Turns(finished(bot)).reply(1, ["Hi!"], Settings())
    assert next(events) == "reading"
    assert next(events) == Progress(1, 3, 20, 0)
    bot.go_on.set()
    assert isinstance(list(events)[-1], Reply)


def test_a_model_that_is_still_loading_is_waited_for(bot):
    loading = Future()
    events = Turns(loading).reply(1, ["Hi!"], Settings())
    assert next(events) == "loading"
    assert next(events) == "loading"
    loading.set_result(bot)
    assert isinstance(list(events)[-1], Reply)


def test_a_model_that_cannot_be_loaded_is_told():
    failed = Future()
    failed.set_exception(ModelError("no such folder"))
    with pytest.raises(ModelError, match="no such folder"):
        list(Turns(failed).reply(1, ["Hi!"], Settings()))


def test_stop_while_loading_ends_at_once():
    turns = Turns(Future())
    events = turns.reply(1, ["Hi!"], Settings())
    next(events)
    assert turns.stop(1)
    assert list(events) == []
    assert not turns.stop(1)


def test_a_bot_that_answers_in_batches_is_not_waited_for(bot):
    bot.go_on.clear()
    turns = Turns(finished(bot), at_once=2)
    begun = [turns.reply(key, ["Hi!"], Settings()) for key in range(3)]
    assert [next(events) for events in begun] == ["reading", "reading", "waiting"]
    bot.go_on.set()
    assert all(isinstance(list(events)[-1], Reply) for events in begun)
    turns.close(limit_s=1)
    assert isinstance(list(turns.reply(1, ["Hi!"], Settings()))[-1], Reply)


def test_stop_while_waiting_for_another_reply(bot):
    bot.go_on.clear()
    turns = Turns(finished(bot))
    first = turns.reply(1, ["Hi!"], Settings())
    next(first)
    second = turns.reply(2, ["Hi!"], Settings())
    assert next(second) == "waiting"
    turns.stop(2)
    assert list(second) == []
    bot.go_on.set()
    assert isinstance(list(first)[-1], Reply)


def test_stop_takes_no_more_than_one_token(bot):
    bot.go_on.clear()
    turns = Turns(finished(bot))
    events = turns.reply(1, ["Hi!"], Settings())
    while not isinstance(next(events), Progress):
        pass
    turns.stop(1)
    bot.go_on.set()
    assert [event.tokens for event in events] == []


def test_a_failure_reaches_the_reader_and_frees_the_model(bot):
    turns = Turns(finished(bot))
    with pytest.raises(RuntimeError, match="memory"):
        list(turns.reply(1, ["fail"], Settings()))
    assert isinstance(list(turns.reply(1, ["Hi!"], Settings()))[-1], Reply)


def test_closing_ends_the_reply_and_waits_until_the_model_is_free(bot):
    bot.go_on.clear()
    turns = Turns(finished(bot))
    events = turns.reply(1, ["Hi!"], Settings())
    assert [next(events), next(events)] == ["reading", Progress(1, 3, 20, 0)]
    closing = threading.Thread(target=turns.close)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    bot.go_on.set()
    closing.join(10)
    assert not closing.is_alive()
    assert list(events) == []
