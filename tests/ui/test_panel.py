"""Laws of the settings: defaults change nothing, bad values are told."""

import pytest

from chatbot.controls import Controls
from chatbot.errors import InputError
from chatbot.types import Ranking, Sampling
from ui.panel import MOODS, read_panel, topics
from ui.texts import has_text
from ui.turns import Settings


def test_the_defaults_are_those_of_the_library(panel):
    assert read_panel(panel) == Settings(Controls(), Sampling(), Ranking(), None)


def test_every_control_has_a_name():
    assert all(has_text(f"attribute_{name}") for name in (*MOODS, *topics()))
    assert not set(MOODS) & set(topics())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joy": None}, "joy is None"),
        ({"joy": 3}, "strength of joy is 3"),
        ({"candidates": "20"}, "candidates is '20'"),
        ({"candidates": 0}, "candidates is 0"),
        ({"temperature": True}, "temperature is True"),
        ({"topics": ["nothing"]}, "no topic 'nothing'; there are "),
        ({"topics": ["game"], "topic_strength": 7}, "strength of game is 7"),
        ({"seed": "x"}, "the seed is 'x'"),
        ({"seed": "-1"}, "the seed is '-1'"),
        ({"seed": "²"}, "the seed is '²'"),
    ],
)
def test_a_bad_value_is_told(panel, change, words):
    with pytest.raises(InputError, match=words):
        read_panel(panel | change)
