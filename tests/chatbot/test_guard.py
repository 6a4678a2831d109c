"""Topic rules and the ethics filter in a turn: what they change, and what never gets out."""

import json

import pytest

from chatbot import Chatbot, Controls, InputError, Sampling
from chatbot.bot import DEFLECTIONS
from chatbot.policy import Change, Policy, Rule
from chatbot.topics import Topics
from chatbot.types import Verdict

SAMPLING = Sampling(candidates=6, max_new_tokens=8)


class Words:
    """A detector that goes by a word; what it finds is not the subject here."""

    detectors = ("politics",)

    def read_many(self, conversations):
        return [
            Topics({"politics": 0.9 if "vote" in turns[-1] else 0.1, "none": 0.1})
            for turns in conversations
        ]


class Filter:
    """Rejects what `is_bad` says, and remembers what it was asked."""

    def __init__(self, is_bad):
        self.is_bad, self.asked = is_bad, []

    def assess_many(self, conversations):
        return [self.assess(context, candidates) for context, candidates in conversations]

    def assess(self, context, candidates):
        self.asked.append((tuple(context), tuple(candidates)))
        found = [self.is_bad(text, len(self.asked)) for text in candidates]
        return [
            Verdict(0.9 if bad else 0.1, "insult" if bad else "none", "", 0.0,
                    "risky" if bad else "accepted", not bad)
            for bad in found
        ]  # fmt: skip


def guarded(bot, *, is_bad=None, rules=()):
    return Chatbot(
        bot.backbone,
        policy=Policy(rules, Words()) if rules else None,
        ethics=None if is_bad is None else Filter(is_bad),
        coherence=bot.coherence,
    )


def answer(bot, turns="hello there", **given):
    return bot.respond(turns, sampling=SAMPLING, **{"seed": 3, **given})


POLITICS = Rule(
    "politics", "politics", 0.5, Change({"joy": -1.0}, ("anger",)), {"en": "It takes no side."}
)


def test_a_filter_that_accepts_all_changes_no_reply(tiny_bot):
    plain, judged = answer(tiny_bot), answer(guarded(tiny_bot, is_bad=lambda text, _: False))
    assert judged.text == plain.text
    assert judged.trace.outcome == "chosen"
    assert all(one.verdict.accepted for one in judged.candidates)


def test_the_rejected_are_never_the_reply(tiny_bot):
    best = answer(tiny_bot).text
    reply = answer(guarded(tiny_bot, is_bad=lambda text, _: text == best))
    assert reply.text != best
    rejected = [one for one in reply.candidates if one.dropped == "rejected"]
    assert [one.text for one in rejected] == [best]
    assert rejected[0].verdict.category == "insult"


def test_all_candidates_of_a_turn_are_judged_at_once_in_their_context(tiny_bot):
    bot = guarded(tiny_bot, is_bad=lambda text, _: False)
    answer(bot, ["hi", "yes?", "hello there"])
    ((context, candidates),) = bot.ethics.asked
    assert context == ("hi", "yes?", "hello there")
    assert len(candidates) == SAMPLING.candidates


def test_where_all_are_rejected_they_are_drawn_again_held_neutral(tiny_bot):
    bot = guarded(tiny_bot, is_bad=lambda text, call: call == 1)
    reply = answer(bot, controls={"joy": 0.5})
    assert reply.trace.outcome == "regenerated"
    assert reply.trace.controls == Controls({"joy": 0.5})
    assert reply.trace.steered_by.strengths == {"neutral": 1.0}
    assert len(reply.candidates) == 2 * SAMPLING.candidates
    assert len({one.row for one in reply.candidates}) == len(reply.candidates)
    assert any("drawn again" in note for note in reply.trace.notes)
    again = guarded(tiny_bot, is_bad=lambda text, call: call == 1).replay(reply.trace)
    assert again.text == reply.text


@pytest.mark.parametrize(("turn", "language"), [("hello there", "en"), ("안녕하세요", "ko")])
def test_where_these_are_rejected_too_it_deflects_in_the_persons_language(tiny_bot, turn, language):
    known = json.loads(DEFLECTIONS.read_text(encoding="utf-8"))[language]
    bot = guarded(tiny_bot, is_bad=lambda text, _: True)
    replies = [answer(bot, turn, seed=seed) for seed in range(4)]
    assert {reply.trace.outcome for reply in replies} == {"deflected"}
    assert all(reply.text in known for reply in replies)
    assert len({reply.text for reply in replies}) == 4
    assert replies[0].candidates[0].text == replies[0].text


def test_a_deflection_is_not_said_twice(tiny_bot):
    bot = guarded(tiny_bot, is_bad=lambda text, _: True)
    turns = ["hello"]
    for _ in range(5):
        turns += [answer(bot, turns).text, "and now?"]
    said = turns[1::2]
    assert len(set(said)) == len(said)


def test_rejected_text_never_enters_the_history(tiny_bot):
    bot = guarded(tiny_bot, is_bad=lambda text, _: True)
    chat = bot.conversation(sampling=SAMPLING)
    chat.say("hello there", seed=1)
    chat.say("go on", seed=2)
    rejected = {
        one.text
        for reply in chat.replies
        for one in reply.candidates
        if one.dropped == "rejected" and one.text
    }
    assert rejected.isdisjoint(chat.turns)


def test_one_of_a_batch_is_drawn_again_and_the_others_stay(tiny_bot):
    def is_bad(text, call):
        return call == 2  # the second conversation

    bot = guarded(tiny_bot, is_bad=is_bad)
    first, second, third = bot.respond_many(
        ["hello there", "good day", "what now"], seeds=[3, 4, 5], sampling=SAMPLING
    )
    assert [r.trace.outcome for r in (first, second, third)] == ["chosen", "regenerated", "chosen"]
    assert first.text == answer(tiny_bot, seed=3).text
    assert third.text == answer(tiny_bot, "what now", seed=5).text


def test_a_rule_changes_what_is_asked_and_says_so(tiny_bot):
    bot = guarded(tiny_bot, rules=[POLITICS])
    reply = answer(bot, "who do you vote for", controls={"anger": 0.4, "game": 0.3})
    assert [rule.name for rule in reply.trace.rules] == ["politics"]
    assert reply.trace.controls.strengths == {"anger": 0.4, "game": 0.3}
    assert reply.trace.steered_by.strengths == {"game": 0.3, "joy": -1.0}
    assert any("anger was asked at 0.4" in note for note in reply.trace.notes)
    assert reply.trace.topics["politics"] == 0.9
    calm = answer(bot, "hello there")
    assert calm.trace.rules == ()
    assert calm.text == answer(tiny_bot, "hello there").text


def test_a_rule_can_be_switched_off_for_a_conversation(tiny_bot):
    bot = guarded(tiny_bot, rules=[POLITICS])
    controls = Controls(rules_off=("politics",))
    reply = answer(bot, "who do you vote for", controls=controls)
    assert reply.trace.rules == ()
    assert reply.text == answer(tiny_bot, "who do you vote for").text
    with pytest.raises(InputError, match="there are politics"):
        answer(bot, controls=Controls(rules_off=("football",)))


def test_a_reply_under_a_rule_can_be_replayed(tiny_bot):
    bot = guarded(tiny_bot, rules=[POLITICS])
    reply = answer(bot, "who do you vote for", controls={"game": 0.3})
    again = bot.replay(reply.trace)
    assert again.text == reply.text
    assert again.trace == reply.trace


def test_a_reply_with_all_of_it_goes_through_json(tiny_bot):
    bot = guarded(tiny_bot, is_bad=lambda text, call: call == 1, rules=[POLITICS])
    told = answer(bot, "who do you vote for", controls={"game": 0.3}).to_dict()
    again = json.loads(json.dumps(told, ensure_ascii=False))
    assert again["trace"]["rules"][0]["reason"] == "It takes no side."
    assert again["candidates"][-1]["verdict"]["accepted"] is False
