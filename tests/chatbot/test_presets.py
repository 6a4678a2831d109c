"""Laws of presets: what is saved comes back, what is no preset is told in words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribute_models.lexicon import shipped_lists
from chatbot.controls import Controls, GradientSettings, Schedule
from chatbot.errors import InputError
from chatbot.presets import (
    SHIPPED,
    Preset,
    controls_from_dict,
    controls_to_dict,
    list_presets,
    merged,
    presets_folder,
    resolve_preset,
    save_preset,
)
from chatbot.types import Ranking, Sampling

WHOLE = Preset(
    "my 기분 2",
    Controls(
        {"joy": 0.5},
        Schedule.decay("anger", 1, half_life=2),
        spread=(1,),
        kl_limit=4,
        mode="pplm",
        gradient=GradientSettings(step_size=0.5, iterations=2),
        rules_off=("crime",),
    ),
    Sampling(candidates=5, temperature=0.3),
    Ranking(novelty=0.5),
)


@pytest.mark.parametrize("preset", [*SHIPPED, WHOLE], ids=lambda preset: preset.name)
def test_a_preset_comes_back_from_its_text(preset):
    assert Preset.from_json(preset.to_json()) == preset


@pytest.mark.parametrize("preset", SHIPPED, ids=lambda preset: preset.name)
def test_shipped_presets_ask_for_shipped_attributes(preset):
    assert preset.controls.at(1).keys() <= set(shipped_lists())
    assert any(preset.controls.at(6).values())


def test_own_presets_are_listed_after_the_shipped_and_may_replace_them(tmp_path):
    assert list_presets(tmp_path / "none") == list(SHIPPED)
    own = Preset("calm", Controls({"music": 1}))
    for preset in (WHOLE, own):
        save_preset(preset, tmp_path)
    names = [preset.name for preset in SHIPPED]
    assert [preset.name for preset in list_presets(tmp_path)] == [*names, "my 기분 2"]
    assert resolve_preset("calm", tmp_path) == own
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calm.json", "my 기분 2.json"]


def test_the_folder_is_in_the_users_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    save_preset(WHOLE)
    assert presets_folder().is_relative_to(tmp_path)
    assert resolve_preset(WHOLE.name) == WHOLE


def test_an_unknown_preset_is_told_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="no preset named 'x'; known: cheerful, calm"):
        resolve_preset("x", tmp_path)


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", "../a", ".a", "a.", "a\n", "a" * 61, 5])
def test_a_name_never_leads_out_of_the_folder(name):
    with pytest.raises(InputError, match="name of the preset"):
        Preset(name, Controls())


def test_a_file_that_is_no_preset_is_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: this is no preset"):
        list_presets(tmp_path)
    (tmp_path / "bad.json").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"bad\.json cannot be read"):
        list_presets(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "give an object with name, controls"),
        ('{"colour": 1}', "no 'colour'"),
        ('{"controls": 1}', "the controls is 1"),
        ('{"controls": {"joy": "x"}}', "strength of joy is 'x'"),
        ('{"controls": {"strengths": 1}}', "the strengths are 1"),
        ('{"controls": {"spread": 1}}', "cannot be read"),
        ('{"controls": {"kl_limit": "a"}}', "cannot be read"),
        ('{"controls": {"mode": "x"}}', "mode is 'x'"),
        ('{"controls": {"mode": "pplm", "gradient": {"step_size": 1}}}', "cannot be read"),
        ('{"controls": {"mode": "pplm", "gradient": {"x": 1}}}', "no 'x'"),
        ('{"controls": {"schedule": {"a": []}}}', "this is no schedule"),
        ('{"sampling": {"candidates": "a"}}', "candidates is 'a'"),
        ('{"sampling": {"colour": 1}}', "the sampling has no 'colour'"),
        ('{"ranking": {"novelty": []}}', r"novelty is \[\]"),
    ],
)
def test_what_is_no_preset_is_told(text, expected):
    with pytest.raises(InputError, match=expected):
        Preset.from_json(text)


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(
        st.sampled_from(["strengths", "schedule", "spread", "kl_limit", "points", "a"]), inner
    )
)))  # fmt: skip
def test_whatever_is_given_is_controls_or_refused(record):
    try:
        controls = controls_from_dict(record)
    except InputError:
        return
    assert controls_from_dict(controls_to_dict(controls)) == controls


def test_what_is_given_beside_a_preset_counts_attribute_by_attribute():
    base = Controls({"joy": 1, "game": 0.5}, Schedule.ramp("anger", 0, 1, turns=4), kl_limit=3)
    assert merged(base, Controls()) == base
    assert merged(base, Controls({"joy": 0.2})).strengths == {"joy": 0.2, "game": 0.5}
    assert merged(base, Controls({"anger": 0.2})) == Controls(
        {"joy": 1, "game": 0.5, "anger": 0.2}, kl_limit=3
    )
    given = Controls(schedule=Schedule.constant("joy", 0.1), kl_limit=5)
    assert merged(base, given) == Controls(
        {"game": 0.5}, Schedule.ramp("anger", 0, 1, turns=4) | given.schedule, kl_limit=5
    )
