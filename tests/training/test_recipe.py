"""Laws of recipes: what is refused when one is read, and how the learning rate runs."""

import json

import pytest

from chatbot.errors import TrainingError
from chatbot.training.recipe import Recipe, read_recipe

RECIPE = Recipe(shape={"d_model": 32}, stages=[{"corpus": "train", "steps": 4}], valid="valid")


# -- reading one


def test_what_is_left_out_has_a_default(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(RECIPE.model_dump_json(exclude_defaults=True))
    assert read_recipe(path) == RECIPE


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learnin_rate": 1e-3}, "learnin_rate"),
        ({"shape": {"d_modle": 32}}, "shape: .*d_modle.*known: .*d_model"),
        ({"stages": [{"corpus": "c", "steps": 3, "infil": 0.1}]}, r"stages\.0\.infil"),
        ({"stages": [{"corpus": "c", "steps": 0}]}, r"stages\.0\.steps"),
        ({"stages": []}, "stages"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"tokens_per_batch": 8}, "tokens_per_batch"),
        ({"average_every": 4, "eval_every": 6}, "eval_every must be a multiple"),
        ({"average_every": 5}, "must be a multiple of average_every"),
    ],
    ids=str,
)
def test_a_wrong_key_or_value_of_a_recipe_is_named(tmp_path, change, named):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE.model_dump() | change))
    with pytest.raises(TrainingError, match=named):
        read_recipe(path)


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_a_file_that_is_no_recipe_is_named(tmp_path, text):
    path = tmp_path / "recipe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=r"recipe\.json"):
        read_recipe(path)


# -- the schedule


def scheduled(**changes):
    """Learning rates of a hundred steps."""
    stages = [{"corpus": "c", "steps": 60}, {"corpus": "c", "steps": 40}]
    hundred = Recipe.model_validate(
        RECIPE.model_dump() | {"stages": stages, "learning_rate": 0.5} | changes
    )
    assert hundred.total_steps == 100
    return [hundred.rate(step) for step in range(100)]


def test_the_rate_warms_up_stays_and_decays():
    rates = scheduled(warmup=10, decay=0.4)
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert rates[10:60] == [0.5] * 50
    assert rates[60:] == pytest.approx([0.5 * (100 - step) / 40 for step in range(60, 100)])
    assert rates[-1] > 0


def test_without_decay_the_rate_stays():
    assert scheduled(warmup=1, decay=0.0) == [0.5] * 100


@pytest.mark.parametrize("warmup", [1, 30, 500])
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_the_rate_is_positive_and_never_above_the_peak(warmup, decay):
    rates = scheduled(warmup=warmup, decay=decay)
    assert all(0 < rate <= 0.5 for rate in rates)
