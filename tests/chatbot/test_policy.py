"""Laws of the rules: when they fire, what they change, what they leave."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from chatbot.controls import Controls, Schedule
from chatbot.errors import InputError
from chatbot.policy import SHIPPED, Change, Policy, Rule, read_rules
from chatbot.topics import Topics

GAME = {"en": "Games are a serious matter.", "ko": "게임은 진지한 일입니다."}


class Reader:
    """Finds a topic where the last turn names it."""

    detectors = ("politics", "religion", "sexual", "race", "crime", "crime_deed", "crime_victim")

    def read_many(self, conversations):
        return [self._read(turns[-1]) for turns in conversations]

    def _read(self, text):
        named = [topic for topic in self.detectors[:5] if topic in text]
        values = dict.fromkeys(("none", *self.detectors[:5]), 0.0)
        for topic in named:
            values[topic] = 0.9 / len(named)
        values["none"] = 1 - sum(values.values())
        return Topics(values, victim=0.95 if "victim" in text else 0.05)


@pytest.fixture
def policy():
    return Policy.shipped(Reader())


def told(policy, text, controls=None):
    return policy.apply([text], controls)


@pytest.mark.parametrize("topic", ["politics", "religion", "sexual", "race"])
def test_sensitive_topics_are_answered_neutrally(policy, topic):
    decision = told(policy, topic, {"joy": 0.5, "game": 0.4})
    assert decision.controls.strengths == {"game": 0.4, "neutral": 0.7}
    assert [fired.name for fired in decision.fired] == [topic]
    assert decision.notes == (f"joy was asked at 0.5; the rule {topic} makes it left out.",)


def test_a_deed_is_disapproved_and_a_victim_is_not_scolded(policy):
    assert told(policy, "a crime").controls.strengths == {"disapproval": 0.7}
    victim = told(policy, "victim of a crime", {"negative": 0.8}).controls.strengths
    assert victim == {"sadness": 0.3}


def test_without_a_topic_the_controls_are_those_asked_for(policy):
    asked = Controls({"joy": 0.5}, Schedule.ramp("game", 0, 1, turns=3))
    decision = told(policy, "hello", asked)
    assert decision.controls is asked
    assert decision.fired == decision.notes == ()


def test_the_rest_of_the_controls_stays(policy):
    schedule = Schedule.ramp("anger", 0, 1, turns=3) | Schedule.constant("game", 0.2)
    asked = Controls({"positive": 0.5}, schedule, spread=(1.0,), kl_limit=1.0, fusion=0.9)
    controls = told(policy, "politics", asked).controls
    wanted = replace(asked, strengths={"neutral": 0.7}, schedule=Schedule.constant("game", 0.2))
    assert controls == wanted


def test_a_control_on_what_a_rule_sets_loses_and_is_told(policy):
    decision = told(policy, "a crime", {"disapproval": -0.5})
    assert decision.controls.strengths == {"disapproval": 0.7}
    assert decision.notes == ("disapproval was asked at -0.5; the rule crime makes it 0.7.",)


def test_a_scheduled_control_is_told_at_its_turn(policy):
    asked = Controls(schedule=Schedule.ramp("joy", 0, 1, turns=2))
    assert policy.apply(["politics"], asked).notes == ()
    assert "at 1;" in policy.apply(["hi", "hi", "politics"], asked).notes[0]


def test_a_rule_switched_off_does_nothing(policy):
    off = policy.without("politics")
    assert told(off, "politics").fired == ()
    assert told(off, "religion").fired
    assert told(policy, "politics").fired
    assert "neutral" in off.attributes()
    with pytest.raises(InputError, match="no rule named 'sport'; there are politics"):
        policy.without("sport")


def test_a_rule_is_added_and_takes_the_place_of_its_namesake(policy):
    rule = Rule("politics", "politics", 0.2, Change({"game": 1.0}), GAME)
    changed = policy.with_rule(rule)
    assert told(changed, "politics").controls.strengths == {"game": 1.0}
    assert len(changed.rules) == len(policy.rules)


def test_the_threshold_decides(policy):
    strict = policy.with_rule(replace(policy.rules[0], threshold=0.95))
    assert not told(strict, "politics").fired
    assert told(policy, "politics").fired[0].threshold == policy.rules[0].threshold


def test_the_surer_rule_has_its_way(policy):
    low = [replace(rule, threshold=0.3) for rule in policy.rules]
    low[0] = replace(low[0], change=Change({"disapproval": 0.1}))
    first, second = told(Policy(low, Reader()), "politics and crime").fired
    assert first.probability >= second.probability
    strengths = told(Policy(low, Reader()), "politics and crime").controls.strengths
    assert strengths == {"disapproval": first.change.set["disapproval"]}


def test_the_reason_is_in_the_language_of_the_message(policy):
    assert "정치" in told(policy, "politics 정치 이야기를 하고 싶어요").fired[0].reason
    assert "politics" in told(policy, "politics").fired[0].reason


def test_a_decision_repeats(policy):
    assert told(policy, "crime", {"joy": 0.2}) == told(policy, "crime", {"joy": 0.2})


# -- files


def test_the_shipped_rules_cover_the_topics_in_two_languages():
    rules = read_rules(SHIPPED)
    assert {rule.detector for rule in rules} == {*Reader.detectors} - {"crime"}
    assert all(rule.is_on and {"en", "ko"} <= rule.reason.keys() for rule in rules)


GOOD = {"name": "a", "detector": "race", "threshold": 0.5, "change": {}, "reason": {"en": "so"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshhold": 1}, r"rules\.0\.threshhold: Extra inputs"),
        ({"threshold": 1.5}, "threshold of the rule a is 1.5"),
        ({"threshold": "high"}, r"rules\.0\.threshold"),
        ({"change": {"set": {"joy": 3.0}}}, "strength of joy is 3.0"),
        ({"change": {"prefer": {"praise": 1.0}}}, "prefers praise at 1.0; give a weight"),
        ({"change": {"prefer": {"approves": -2.0}}}, "prefers approves at -2.0; give a weight"),
        ({"change": {"sets": {}}}, r"rules\.0\.change\.sets"),
        ({"change": {"set": {"joy": 1.0}, "aside": ["joy"]}}, "sets joy and puts it aside"),
        ({"reason": {"ko": "왜"}}, "has no reason"),
    ],
)
def test_a_bad_rule_is_told_with_its_place(tmp_path, change, message):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"rules": [GOOD | change]}), "utf-8")
    with pytest.raises(InputError, match=message) as raised:
        read_rules(file)
    assert str(file) in str(raised.value)


def test_files_that_are_none_and_names_given_twice_are_refused(tmp_path):
    file = tmp_path / "rules.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_rules(file)
    file.write_text("{", "utf-8")
    with pytest.raises(InputError, match="expected JSON"):
        read_rules(file)
    file.write_text(json.dumps({"rules": [GOOD, GOOD]}), "utf-8")
    with pytest.raises(InputError, match="two rules are named a"):
        read_rules(file)


def test_a_topic_the_detector_does_not_know_is_refused():
    rule = Rule("sport", "sport", 0.5, Change({"game": 1.0}), GAME)
    with pytest.raises(InputError, match="asks for the topic 'sport'; the detector knows politics"):
        Policy([rule], Reader())


# -- commands


def test_list_prints_each_rule():
    from chatbot.policy_commands import app

    printed = CliRunner().invoke(app, ["list"])
    assert printed.exit_code == 0
    for rule in read_rules(SHIPPED):
        assert f"{rule.name}: {rule.detector} from {rule.threshold:g} on" in printed.output


def test_check_prints_topics_rules_and_controls(monkeypatch, policy):
    from chatbot import policy_commands

    load = SimpleNamespace(load=lambda file, detector: policy)
    monkeypatch.setattr(policy_commands, "Policy", load)
    arguments = ["check", "politics", "--controls", "joy=.5,game=.2"]
    printed = CliRunner().invoke(policy_commands.app, arguments).output
    assert "topics    politics 0.90" in printed
    threshold = policy.rules[0].threshold
    assert f"fires     politics: politics 0.90, threshold {threshold:g}." in printed
    assert "controls  game=0.2, neutral=0.7" in printed
    assert "note      joy was asked at 0.5" in printed
