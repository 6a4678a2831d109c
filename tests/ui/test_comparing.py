"""Laws of comparisons: one seed, the conversation untouched, errors in words, an end by stop."""

import json

import pytest

from ui import comparing
from ui.comparing import SWEEP, Comparison
from ui.comparison_drawing import comparison_html
from ui.handlers import Screen
from ui.markup import TIMES, Sayer
from ui.texts import LANGUAGES


@pytest.fixture
def asked(ann, say):
    """A screen on a conversation of one turn."""
    return say(ann, Screen(), "Hi <b>there</b>!")


def stored(service, visitor):
    return list(service.store.of(visitor.id).export_lines())


def test_base_and_steered_have_one_seed_and_leave_the_chat(service, ann, asked, panel, bot):
    before = stored(service, ann)
    panel |= {"joy": 0.5, "topics": ["game"]}
    *_, end = comparing.compare(service, ann, asked, Comparison(), panel)
    (_, base, base_seed, _), (_, steered, steered_seed, _) = bot.asked[-2:]
    assert (base.at(1), steered.at(1)) == ({}, {"joy": 0.5, "game": 0.5})
    assert base_seed == steered_seed == end.seed
    assert [one.asked for one in end.answers] == [{}, {"joy": 0.5, "game": 0.5}]
    assert end.answers[1].shown == {"joy": 0.25, "game": None}
    assert end.answers[0].perplexity == pytest.approx(2.718281828)  # e^(3 nats / 3 pieces)
    assert (end.key, end.problem, end.notice) == (None, "", "")
    assert stored(service, ann) == before


def test_the_seed_of_the_panel_is_used_and_rules_stay_off(service, ann, asked, panel, bot):
    panel |= {"joy": 0.5, "seed": "7", "rules": []}
    *_, end = comparing.compare(service, ann, asked, Comparison(), panel)
    assert end.seed == 7
    assert all(one[2] == 7 and one[1].rules_off for one in bot.asked[-2:])


def test_a_sweep_asks_one_attribute_at_growing_strengths(service, ann, asked, panel, bot):
    panel |= {"anger": 0.9}
    *_, end = comparing.sweep(service, ann, asked, Comparison(), panel, "joy")
    controls = [one[1].at(1) for one in bot.asked[1:]]
    assert controls == [{"joy": strength} for strength in SWEEP]
    assert len({one[2] for one in bot.asked[1:]}) == 1
    assert [one.shown["joy"] for one in end.answers] == [0.25] * len(SWEEP)


def test_the_last_message_is_compared_even_behind_its_reply(service, ann, asked, panel, bot, say):
    asked = say(ann, asked, "and now?")
    list(comparing.compare(service, ann, asked, Comparison(), panel | {"joy": 0.5}))
    assert bot.asked[-1][0] == ["Hi <b>there</b>!", "reply 1", "and now?"]


@pytest.mark.parametrize(
    ("change", "words"), [({}, "Nothing is asked"), ({"candidates": 0}, "candidates is 0")]
)
def test_what_cannot_be_compared_is_told(service, ann, asked, panel, change, words):
    (told,) = comparing.compare(service, ann, asked, Comparison(), panel | change)
    assert words in told.problem


def test_a_comparison_needs_a_message_and_an_attribute(service, ann, asked, panel):
    (told,) = comparing.compare(service, ann, Screen(), Comparison(), panel | {"joy": 0.5})
    assert "Send a message first" in told.problem
    (told,) = comparing.sweep(service, ann, asked, Comparison(), panel, "<b>")
    assert "Choose an attribute" in told.problem
    (told,) = comparing.sweep(service, ann, asked, Comparison(key=-1), panel, "joy")
    assert "is running" in told.problem


def test_a_failure_keeps_what_was_done(service, ann, panel, say):
    screen = say(ann, Screen(), "fail")
    *_, end = comparing.sweep(service, ann, screen, Comparison(), panel, "joy")
    assert "RuntimeError: out of <b>memory</b>" in end.problem
    assert end.key is None


def test_stop_ends_all_that_is_to_come(service, ann, asked, panel, bot):
    bot.go_on.clear()
    steps = comparing.sweep(service, ann, asked, Comparison(), panel, "joy")
    now = next(step for step in steps if "candidates" in step.progress)
    assert comparing.stop(service, now) is None
    bot.go_on.set()
    *_, end = steps
    assert (end.key, end.notice) == (None, "Stopped; what was done is shown.")
    assert len(bot.asked) == 2  # the reply of the chat, and the one that was stopped
    assert comparing.stop(service, now).key is None  # nothing is left to stop


def test_a_stranger_compares_nothing(service, bob, asked, panel):
    (told,) = comparing.compare(service, bob, asked, Comparison(), panel | {"joy": 0.5})
    assert "no conversation" in told.problem


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_step_is_whole_html_without_the_words_as_html(
    service, ann, asked, panel, language, parsed
):
    panel |= {"joy": 0.5}
    say = Sayer(language)
    steps = [Comparison(), *comparing.compare(service, ann, asked, Comparison(), panel)]
    steps += comparing.sweep(service, ann, asked, Comparison(), panel, "joy")
    steps += comparing.sweep(service, ann, asked, Comparison(), panel, "game")
    for step in steps:
        assert "b" not in parsed(comparison_html(step, say)).tags
    assert "Hi <b>there</b>!" in parsed(comparison_html(steps[-1], say)).text


def test_what_was_measured_stands_side_by_side(service, ann, asked, panel):
    panel |= {"joy": 0.5, "topics": ["game"]}
    *_, end = comparing.compare(service, ann, asked, Comparison(), panel)
    drawn = comparison_html(end, Sayer("en"))
    assert "<td>0.50</td><td>0.25 → 0.25</td>" in drawn  # joy is read
    assert "<td>0.50</td><td>–</td>" in drawn  # games are not
    assert f"2.7 → 2.7 ({TIMES}1.00)" in drawn


def test_the_sweep_draws_only_what_was_read(service, ann, asked, panel):
    def plots(attribute):
        *_, end = comparing.sweep(service, ann, asked, Comparison(), panel, attribute)
        return comparison_html(end, Sayer("en"))

    assert plots("joy").count("<svg") == 2
    assert plots("game").count("<svg") == 1
    assert "No model reads this attribute" in plots("game")
    assert json.dumps(plots("joy")).count("\\u00d71.00") == len(SWEEP)
