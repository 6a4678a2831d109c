"""Known answers of the numbers over replies."""

import math

import numpy as np
import pytest

from eval.control import metrics


def test_distinct_counts_different_ngrams_across_texts():
    texts = ["the cat sat", "The cat ran!"]
    assert metrics.distinct(texts, 1) == pytest.approx(4 / 6)
    assert metrics.distinct(texts, 2) == pytest.approx(3 / 4)
    assert math.isnan(metrics.distinct(["hello"], 2))
    assert metrics.distinct(["don’t stop", "don't go"], 1) == pytest.approx(3 / 4)


def test_the_interval_of_a_mean_is_the_normal_one_for_many_contexts():
    hits = np.array([1] * 300 + [0] * 100)
    found = metrics.mean(hits)
    error = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert found.n == 400
    assert found.low == pytest.approx(0.75 - error, abs=0.005)
    assert found.high == pytest.approx(0.75 + error, abs=0.005)


def test_the_interval_of_a_constant_is_a_point_and_that_of_nothing_is_none():
    assert (metrics.mean([2, 2, 2]).low, metrics.mean([2, 2, 2]).high) == (2, 2)
    assert math.isnan(metrics.mean([]).value)
    assert metrics.mean([]).to_json() == {"value": None, "interval": [None, None], "n": 0}


def test_the_same_data_have_the_same_interval():
    assert metrics.mean([0, 1, 1, 0, 1]) == metrics.mean([0, 1, 1, 0, 1])


def test_the_perplexity_ratio_is_that_of_the_corpora():
    same = metrics.perplexity_ratio([8.0, 2.0], [4, 1], [8.0, 2.0], [4, 1])
    assert (same.value, same.low, same.high) == (1, 1, 1)
    # 10 nats over 5 pieces against 5 over 5: exp(2) / exp(1).
    found = metrics.perplexity_ratio([8.0, 2.0], [4, 1], [4.0, 1.0], [4, 1])
    assert found.value == pytest.approx(math.e)
    assert found.low <= found.value <= found.high


def test_ranks_share_ties():
    assert metrics.ranks(np.array([[10.0, 30.0, 10.0, 20.0]])).tolist() == [[1.5, 4, 1.5, 3]]


@pytest.mark.parametrize(
    ("measured", "wanted"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1.0),
        ([0.4, 0.3, 0.2, 0.1], -1.0),
        ([0.1, 0.3, 0.2, 0.4], 0.8),
        ([0.1, 9.0, 9.1, 99.0], 1.0),
    ],
)
def test_rank_correlation(measured, wanted):
    found = metrics.rank_correlation(np.arange(4.0), np.array(measured))
    assert float(found) == pytest.approx(wanted)


def test_rank_correlation_with_ties_is_that_of_the_mean_ranks():
    # Ranks 1.5, 1.5, 3.5, 3.5 against 1, 2, 3, 4: covariance 4, variances 4 and 5.
    found = metrics.rank_correlation(np.arange(4.0), np.array([0.0, 0.0, 1.0, 1.0]))
    assert float(found) == pytest.approx(4 / math.sqrt(4 * 5))
    assert math.isnan(float(metrics.rank_correlation(np.arange(3.0), np.ones(3))))


def test_a_curve_can_rise_on_average_and_in_no_single_context():
    measured = np.array([[0.0, 2.0, 1.0], [0.0, 0.0, 3.0]])
    assert metrics.curve_correlation([0, 0.5, 1], measured).value == 1
    assert metrics.each_correlation([0, 0.5, 1], measured).value < 1


def test_a_constant_context_counts_as_no_correlation():
    assert metrics.each_correlation([0, 1], np.array([[0.1, 0.9], [0.5, 0.5]])).value == 0.5


def test_success_at_a_price_lies_on_the_line_between_points():
    points = [(1.0, 0.2), (1.2, 0.6), (1.6, 0.8)]
    assert metrics.success_at(points, 1.1) == pytest.approx(0.4)
    assert metrics.success_at(points, 1.4) == pytest.approx(0.7)
    assert metrics.success_at(points, 1.2) == pytest.approx(0.6)


def test_success_at_a_price_is_the_best_that_is_affordable():
    points = [(1.0, 0.2), (1.5, 0.5), (1.3, 0.9)]
    assert metrics.success_at(points, 1.5) == 0.9
    assert metrics.success_at(points, 99) == 0.9
    assert metrics.success_at(points, 0.9) is None


def test_leakage_is_the_change_of_shares_in_points():
    plain = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    steered = np.array([[0, 1], [0, 1], [1, 0], [0, 1]])
    assert metrics.leakage(steered, plain) == [-50.0, 50.0]
