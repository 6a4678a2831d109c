"""Agreement against the numbers of the books and the definition spelled out."""

from itertools import permutations

import numpy as np
import pytest

from eval.ssa.agreement import agreement

# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example C: four observers,
# twelve units, five values, labels missing. Gwet's irrCAC ships it as `cac.raw4raters`.
PUBLISHED = {
    "a": "123321412...",
    "b": "1233224125.3",
    "c": ".3332342251.",
    "d": "12332441251.",
}
DATA = {
    str(unit): {rater: row[unit] for rater, row in PUBLISHED.items() if row[unit] != "."}
    for unit in range(12)
}


def test_the_published_example():
    found = agreement(DATA, "12345")
    assert found.items == 11  # the last unit has one label
    assert found.percent.value == pytest.approx(0.8182, abs=5e-5)
    assert found.alpha.value == pytest.approx(0.743, abs=5e-4)
    assert found.ac1.value == pytest.approx(0.77544, abs=5e-6)
    assert agreement(DATA, "12345", level="ordinal").alpha.value == pytest.approx(0.815, abs=5e-4)


def brute_alpha(data, distance):
    """1 - the mean distance within units over that between any two labels, pair by pair."""
    units = [list(given.values()) for given in data.values() if len(given) > 1]
    labels = [label for unit in units for label in unit]
    within = sum(
        distance(a, b) / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2)
    )
    anywhere = sum(distance(a, b) for a, b in permutations(labels, 2)) / (len(labels) - 1)
    return 1 - within / anywhere


@pytest.mark.parametrize("seed", range(5))
def test_nominal_alpha_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    data = {
        str(i): {r: str(rng.choice(["no", "maybe", "yes"])) for r in "abcd" if rng.random() < 0.7}
        for i in range(20)
    }
    found = agreement(data, ["no", "maybe", "yes"], resamples=10)
    assert found.alpha.value == pytest.approx(brute_alpha(data, lambda a, b: a != b))


def test_agreement_depends_on_no_names_or_order():
    turned = {unit: dict(reversed(given.items())) for unit, given in reversed(DATA.items())}
    renamed = {u: {r + "x": {"1": "5", "5": "1"}.get(v, v) for r, v in g.items()}
               for u, g in turned.items()}  # fmt: skip
    for other in (turned, renamed):
        assert agreement(other, "12345").alpha.value == pytest.approx(
            agreement(DATA, "12345").alpha.value
        )


def test_all_labels_the_same_is_full_agreement_and_said():
    data = {str(i): {"a": "yes", "b": "yes"} for i in range(12)}
    found = agreement(data, ["no", "yes"])
    assert (found.percent.value, found.alpha.value, found.ac1.value) == (1.0, 1.0, 1.0)
    assert found.is_constant
    assert all(rater.is_uniform for rater in found.raters)


def test_missing_labels_are_no_category():
    data = {"1": {"a": "yes", "b": "yes"}, "2": {"a": "no", "b": "no"}, "3": {"a": "yes"}}
    found = agreement(data, ["no", "yes"])
    assert (found.items, found.alpha.value, found.is_constant) == (2, 1.0, False)
    assert agreement({"1": {"a": "yes"}}, ["no", "yes"]) is None


def test_skewed_labels_sink_alpha_and_not_ac1():
    data = {str(i): {"a": "yes", "b": "yes"} for i in range(48)}
    data |= {"x": {"a": "no", "b": "yes"}, "y": {"a": "yes", "b": "no"}}
    found = agreement(data, ["no", "yes"])
    assert found.percent.value == 0.96
    assert found.alpha.value < 0.05 < 0.95 < found.ac1.value


def test_intervals_hold_the_value_and_repeat():
    a, b = agreement(DATA, "12345", seed=3), agreement(DATA, "12345", seed=3)
    assert a == b
    for measure in (a.percent, a.alpha, a.ac1):
        assert measure.interval.low < measure.value < measure.interval.high


def test_each_rater_beside_the_others():
    data = {str(i): {"a": "yes", "b": "yes", "c": "no"} for i in range(10)}
    a, _, c = agreement(data, ["no", "yes"]).raters
    assert (a.labels, a.shares["yes"], a.with_majority) == (10, 1.0, None)  # b and c are split
    assert (c.with_majority, c.is_uniform) == (0.0, True)
