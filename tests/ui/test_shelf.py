"""Laws of presets and schedules in the panel: nothing lost on the way there and back."""

import json

import pytest

from chatbot.controls import Controls, GradientSettings, Schedule
from chatbot.errors import InputError
from chatbot.presets import SHIPPED, Preset
from chatbot.types import Ranking, Sampling
from ui import handlers, scheduling, shelf
from ui import panel as panel_module
from ui.handlers import Screen
from ui.markup import Sayer
from ui.panel_drawing import asked_html, mix_html, schedule_html
from ui.plots import shares
from ui.scheduling import Plan

EVERYTHING = Preset(
    "all",
    Controls(
        {"joy": 0.5, "game": 0.4, "music": 0.4, "food": 0.2, "neutral": 0.3, "my own": -0.5},
        schedule=Schedule.ramp("anger", 0, 1, turns=4) | Schedule.triggered("fear", 0.8),
        spread=(1.0,), kl_limit=3.0, fusion=0.9, mode="layers",
        gradient=GradientSettings(step_size=0.5, iterations=2), feedback=0.7,
        rules_off=("crime",),
    ),
    Sampling(candidates=4, temperature=0.5),
    Ranking(fit=1.0, novelty=0.2),
)  # fmt: skip


@pytest.mark.parametrize("preset", [*SHIPPED, EVERYTHING], ids=lambda preset: preset.name)
def test_a_preset_goes_through_the_panel_whole(panel, preset):
    settings = as_settings(panel, preset)
    assert settings.controls == preset.controls
    assert settings.sampling == (preset.sampling or Sampling())
    assert settings.ranking == (preset.ranking or Ranking())


def as_settings(values, preset):
    return panel_module.read_panel(panel_module.with_preset(values, preset))


def test_a_preset_takes_the_place_of_the_one_before(panel):
    values = panel_module.with_preset(panel, EVERYTHING)
    assert as_settings(values, SHIPPED[0]).controls == SHIPPED[0].controls


def test_the_preset_that_the_panel_has_is_known(panel):
    cheerful = next(preset for preset in SHIPPED if preset.name == "cheerful")
    own = {"cheerful": EVERYTHING.to_json().replace(EVERYTHING.name, "cheerful", 1)}
    chosen = panel_module.with_preset(panel, cheerful)
    assert shelf.current(SHIPPED, {}, panel) is None
    assert shelf.current(SHIPPED, {}, chosen) == "cheerful"
    assert shelf.current(SHIPPED, {}, chosen | {"candidates": 3}) == "cheerful"  # it says nothing
    assert shelf.current(SHIPPED, {}, chosen | {"fear": 0.5}) is None
    assert shelf.current(SHIPPED, own, chosen) is None  # one's own stands before its namesake


def test_what_is_saved_is_found_again_and_shared_as_json(panel):
    own = shelf.saved({}, panel | {"joy": 0.5}, " mine ")
    assert shelf.names(SHIPPED, own)[-1] == "mine"
    preset = shelf.find(SHIPPED, own, "mine")
    assert preset.controls.strengths == {"joy": 0.5}
    assert shelf.read_json(preset.to_json()) == preset
    assert shelf.read_own(json.loads(json.dumps(own))) == own
    assert shelf.deleted(own, "mine") == {}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: shelf.read_json("{"), "no JSON"),
        (lambda: shelf.read_json('{"controls": {"strength": {}, "strengths": {}}}'), "has no"),
        (lambda: shelf.read_json("[" * 200_000), "longer than"),
        (lambda: shelf.find(SHIPPED, {}, "none"), "known: cheerful"),
        (lambda: shelf.deleted({}, "cheerful"), "no preset of your own"),
        (lambda: shelf.saved({}, panel_module.defaults(), "../x"), "the name of the preset"),
        (
            lambda: shelf.saved(
                dict.fromkeys(map(str, range(50)), ""), panel_module.defaults(), "x"
            ),
            "50",
        ),
    ],
)
def test_what_is_wrong_is_told(act, words):
    with pytest.raises(InputError, match=words):
        act()


@pytest.mark.parametrize("kept", [None, [], "x", {"a": 1}, {"a": "{"}, {"a": None}])
def test_a_browser_may_hold_anything(kept):
    assert shelf.read_own(kept) == {}
    assert panel_module.sound(kept) == panel_module.defaults()


def test_the_sound_settings_of_a_browser_are_used():
    kept = {"joy": 0.5, "anger": "x", "mode": "pplm", "topics": ["none"], "seed": None,
            "temperature": 99, "rules": ["race"], "schedule": "{", "feedback": True}  # fmt: skip
    sound = {"joy": 0.5, "mode": "pplm", "rules": ["race"], "feedback": True}
    assert panel_module.sound(kept) == {**panel_module.defaults(), **sound}


def test_rules_and_the_closed_loop_reach_the_controls(panel):
    controls = panel_module.read_panel(panel | {"rules": ["race"], "feedback": True}).controls
    assert "race" not in controls.rules_off
    assert {"politics", "crime"} <= set(controls.rules_off)
    assert controls.feedback == 0.5


# -- schedules


@pytest.mark.parametrize(
    ("kind", "strengths"),
    [
        ("ramp", [0.2, 0.5, 0.8, 0.8]),
        ("decay", pytest.approx([0.2, 0.2 * 0.5 ** (1 / 3), 0.2 * 0.5 ** (2 / 3), 0.1])),
        ("hold", [0.2, 0.2, 0.2, 0.0]),
        ("constant", [0.2] * 4),
        ("insult", [0.0] * 4),
    ],
)
def test_each_kind_of_curve(panel, kind, strengths):
    values = panel | {"anger": 0.7}
    values["schedule"] = scheduling.scheduled(values, Plan("anger", kind, 0.2, 0.8, 3))
    controls = panel_module.read_panel(values).controls
    assert [controls.at(turn)["anger"] for turn in (1, 2, 3, 4)] == strengths
    assert "anger" not in controls.strengths  # its slider stands aside


def test_a_curve_takes_the_place_of_its_namesake_and_can_be_taken_out(panel):
    one = scheduling.scheduled(panel, Plan("anger", "ramp", 0, 1, 6))
    two = scheduling.scheduled(panel | {"schedule": one}, Plan("joy", "constant", 0.3, 0, 1))
    anew = scheduling.scheduled(panel | {"schedule": two}, Plan("anger", "constant", 1, 0, 1))
    assert Schedule.from_json(anew).strengths(1) == {"anger": 1, "joy": 0.3}
    left = scheduling.unscheduled(panel | {"schedule": anew}, "joy")
    assert list(Schedule.from_json(left).curves) == ["anger"]
    assert scheduling.unscheduled(panel | {"schedule": left}, "anger") == ""


@pytest.mark.parametrize(
    "plan",
    [Plan("none", "ramp", 0, 1, 6), Plan("anger", "jump", 0, 1, 6), Plan("anger", "ramp", 0, 1, 1),
     Plan("anger", "ramp", 0, 9, 6), Plan("anger", "ramp", None, 1, 6)],
)  # fmt: skip
def test_a_bad_plan_is_told(panel, plan):
    with pytest.raises(InputError):
        scheduling.scheduled(panel, plan)


def test_the_present_turn_follows_the_conversation(service, ann, say):
    assert scheduling.spoken([]) == (1, [])
    screen = Screen()
    for number, said in enumerate(["one", "you idiot", "three"], start=1):
        screen = say(ann, screen, said)
        turn, heard = scheduling.spoken(handlers.thread(service, ann, screen))
        assert (turn, heard[-1]) == (number + 1, said)


def test_the_drawings_say_what_the_next_reply_is_asked(parsed):
    controls = EVERYTHING.controls
    mixed = parsed(mix_html(controls, (2, ["hi", "hi"]), Sayer("en"))).text
    assert "Joy 0.50" in mixed
    assert "my own \N{MINUS SIGN}0.50" in mixed
    assert "Anger 0.33" in mixed
    drawn = schedule_html(controls, (2, ["hi", "hi"]), Sayer("en"))
    told = parsed(drawn).text
    assert "Anger, rising: 0.33 in the next reply" in told
    assert "Fear, waits for an insult: 0.00" in told
    assert 'data-do="unschedule" data-id="0" data-value="anger"' in drawn
    insulted = parsed(schedule_html(controls, (2, ["hi", "you idiot"]), Sayer("en"))).text
    assert "Fear, falling: 0.80" in insulted


def test_a_kept_seed_and_a_slow_mode_are_told_beside_the_strengths(panel, parsed):
    def told(**values):
        return parsed(
            asked_html(panel_module.read_panel(panel | values), (1, []), Sayer("en"))
        ).text

    assert "Seed" not in told()
    assert "Fast" not in told()
    assert "No steering" in told(seed="7")
    assert "Seed 7" in told(seed="7")
    assert "Joy 0.50Slowest (PPLM)" in told(joy=0.5, mode="pplm")


def test_a_weak_mix_leaves_the_bar_empty_in_part():
    assert 'class="rest" style="flex-grow:0.700"' in shares([("joy", 0.2), ("fear", -0.1)])
    assert "rest" not in shares([("joy", 0.6), ("fear", 0.5)])


def test_names_are_never_html(parsed):
    nasty = '<img src=x onerror="a">'
    schedule = Schedule.ramp(nasty, 0, 1, turns=3)
    controls = Controls({nasty + "!": 1.0}, schedule=schedule)
    for drawn in (mix_html(controls, (3, []), Sayer("en")),
                  schedule_html(controls, (3, []), Sayer("en"))):  # fmt: skip
        assert "img" not in parsed(drawn).tags
        assert nasty in parsed(drawn).text
    assert "No steering" in mix_html(Controls(), (1, []), Sayer("en"))
