"""Controls and schedules are values: checked when made, the same after a trip through JSON."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbot import Controls, Curve, InputError, Schedule
from chatbot.controls import as_controls

strengths = st.floats(-1, 1)


@st.composite
def curves(draw):
    turns = draw(st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True))
    points = tuple((turn, draw(strengths)) for turn in sorted(turns))
    return Curve(points, draw(st.none() | st.floats(0.1, 20)))


schedules = st.dictionaries(st.text(min_size=1, max_size=8), curves(), max_size=4).map(Schedule)


@given(schedules)
def test_a_schedule_survives_json(schedule):
    again = Schedule.from_json(schedule.to_json())
    assert again == schedule
    assert [again.strengths(turn) for turn in range(1, 60)] == [
        schedule.strengths(turn) for turn in range(1, 60)
    ]


@given(curves(), st.integers(1, 200))
def test_a_curve_stays_between_its_points_and_zero(curve, turn):
    values = [value for _, value in curve.points] + [0.0]
    assert min(values) - 1e-9 <= curve.at(turn) <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule.constant("joy", 0.4), [0.4, 0.4, 0.4, 0.4]),
        (Schedule.ramp("joy", 0.0, 0.9, turns=4), [0.0, 0.3, 0.6, 0.9, 0.9]),
        (Schedule.ramp("joy", 1.0, -1.0, turns=3), [1.0, 0.0, -1.0, -1.0]),
        (Schedule.decay("joy", 0.8, half_life=1), [0.8, 0.4, 0.2, 0.1]),
        (Schedule.hold("joy", 0.5, turns=2), [0.5, 0.5, 0.0, 0.0]),
        (Schedule.hold("joy", 0.5, turns=1), [0.5, 0.0, 0.0]),
        (Schedule.piecewise("joy", [(2, 0.2), (4, 1.0)]), [0.2, 0.2, 0.6, 1.0, 1.0]),
    ],
)
def test_curves_over_the_turns(schedule, expected):
    found = [schedule.strengths(turn)["joy"] for turn in range(1, len(expected) + 1)]
    assert found == pytest.approx(expected)


def test_schedules_join_and_refuse_to_share_an_attribute():
    both = Schedule.ramp("anger", 0, 1, turns=3) | Schedule.constant("game", 0.3)
    assert both.strengths(2) == {"anger": 0.5, "game": 0.3}
    with pytest.raises(InputError, match="anger"):
        _ = both | Schedule.constant("anger", 0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Schedule.ramp("joy", 0, 1, turns=1),
        lambda: Schedule.hold("joy", 1, turns=0),
        lambda: Schedule.decay("joy", 1, half_life=0),
        lambda: Schedule.constant("joy", 1.5),
        lambda: Schedule.constant("joy", float("nan")),
        lambda: Schedule.piecewise("joy", []),
        lambda: Schedule.piecewise("joy", [(3, 0.1), (2, 0.2)]),
        lambda: Schedule.piecewise("joy", [(0, 0.1)]),
        lambda: Schedule.piecewise("joy", [(1.5, 0.1)]),
    ],
)
def test_a_curve_that_means_nothing_is_refused(make):
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nothing",
        '{"joy": 1}',
        '{"joy": {"points": [[1]]}}',
        '{"joy": {"at": []}}',
        '{"joy": {"points": [[1, 2.0]]}}',
        '{"joy": {"points": [["a", 0.5]]}}',
    ],
)
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(InputError):
        Schedule.from_json(text)


@pytest.mark.parametrize("strength", [1.01, -2, float("nan"), float("inf"), "0.5", True, None])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(InputError, match=r"joy.* -1 to 1"):
        Controls({"joy": strength})


@pytest.mark.parametrize(
    "settings",
    [
        {"spread": ()},
        {"spread": (-0.5,)},
        {"spread": (3.0,)},
        {"kl_limit": 0},
        {"kl_limit": float("nan")},
        {"fusion": 1.1},
        {"strengths": {"joy": 0.1}, "schedule": Schedule.constant("joy", 0.2)},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError):
        Controls(**settings)


def test_a_schedule_and_strengths_add_up():
    controls = Controls({"joy": 0.2}, schedule=Schedule.ramp("anger", 0, 1, turns=3))
    assert controls.at(2) == {"joy": 0.2, "anger": 0.5}


def test_controls_are_plain_values():
    controls = Controls({"joy": 0.2}, schedule=Schedule.ramp("anger", 0, 1, turns=3))
    assert json.loads(json.dumps(asdict(controls)))["strengths"] == {"joy": 0.2}
    given_before = {"joy": 0.5}
    made = Controls(given_before)
    given_before["joy"] = 9
    assert made.strengths == {"joy": 0.5}


def test_what_a_caller_may_give():
    assert as_controls(None) == Controls()
    assert as_controls({"joy": 0.5}) == Controls({"joy": 0.5})
    assert as_controls(Controls({"joy": 0.5})) == Controls({"joy": 0.5})
    with pytest.raises(InputError, match="dictionary"):
        as_controls(["joy"])


def test_controls_from_a_command_line():
    assert Controls.parse("joy=.5, game = -0.3").strengths == {"joy": 0.5, "game": -0.3}
    assert Controls.parse("") == Controls()
    for text in ("joy", "joy=", "=0.5", "joy=much", "joy=.5,joy=.6", "joy=2"):
        with pytest.raises(InputError):
            Controls.parse(text)
