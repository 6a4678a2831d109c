"""Intervals and tests against published numbers, brute force and simulation."""

import numpy as np
import pytest

from eval.stats import (
    Clusters,
    cluster_bootstrap,
    detectable_difference,
    holm,
    mcnemar,
    wilson,
)


def test_wilson_is_that_of_newcombe():
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
    for r, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson(r, n)
        assert (found.low, found.high) == (
            pytest.approx(low, abs=5e-5),
            pytest.approx(high, abs=5e-5),
        )
    assert wilson(0, 0).high == 1.0


def test_mcnemar_exact():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 7) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(7, 1) == mcnemar(1, 7)


def test_holm_is_the_worked_example():
    # Holm: the least of four p values counts four times, the next three times, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_detectable_difference_is_2_8_standard_errors():
    assert detectable_difference(1.0) == pytest.approx(1.95996 + 0.84162, abs=1e-4)


def test_clusters_keep_values_together():
    clusters = Clusters.of([1, 0, 1, 1], ["a", "b", "a", "c"])
    assert clusters.sums.tolist() == [2, 0, 1]
    assert clusters.counts.tolist() == [2, 1, 1]
    assert clusters.mean == 0.75


def test_the_bootstrap_repeats_and_agrees_with_the_linearised_error():
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(150), rng.integers(1, 8, 150))
    level = rng.normal(size=150)
    values = level[names] + rng.normal(size=len(names))
    clusters = Clusters.of(values.tolist(), names.tolist())
    found = cluster_bootstrap(clusters, seed=4)
    assert found == cluster_bootstrap(clusters, seed=4)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * clusters.standard_error(), rel=0.06)
    alone = Clusters.of(values.tolist(), list(range(len(values))))
    assert clusters.standard_error() > 1.3 * alone.standard_error()


def test_one_cluster_has_no_interval():
    assert cluster_bootstrap(Clusters.of([1.0, 0.0], ["a", "a"])) is None
