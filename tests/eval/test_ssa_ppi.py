"""Human and automatic labels together: right on average, covered, narrower than people alone."""

import numpy as np
import pytest

from eval.ssa.ppi import Response, estimate_ssa


def simulate(rng, *, conversations=100, labelled=36, turns=4, quality=0.8, by_turn=False):
    """Responses of one system whose scorer is off by 0.15, with the truth of 0.7 and 0.42.

    Whole conversations are labelled, or one turn in three of every conversation.
    """
    ease = rng.normal(0, 0.8, conversations)[:, None]
    # Half of the spread is the conversation's: turns of one conversation are alike.
    latent = ease + rng.normal(0, 1, (conversations, turns))
    sensible = latent > -0.5244 * np.sqrt(1.64)  # P = 0.7
    specific = sensible & (rng.random((conversations, turns)) < 0.6)
    noise = rng.normal(0, 0.15, (conversations, turns))
    f_sensible = np.clip(quality * sensible + (1 - quality) * 0.5 + 0.15 + noise, 0, 1)
    f_specific = np.minimum(f_sensible, np.clip(quality * specific + 0.2 + noise, 0, 1))
    responses = []
    for c in range(conversations):
        for t in range(turns):
            has_label = rng.random() < 1 / 3 if by_turn else c < labelled
            people = (float(sensible[c, t]), float(specific[c, t])) if has_label else None
            responses.append(
                Response(c, (float(f_sensible[c, t]), float(f_specific[c, t])), people)
            )
    return responses


TRUTH = {"sensible": 0.7, "specific": 0.42, "ssa": 0.56}


@pytest.mark.parametrize("by_turn", [False, True], ids=["conversations", "turns"])
def test_the_95_percent_interval_covers_the_truth_and_is_narrower(by_turn):
    rng = np.random.default_rng(2026)
    found = [estimate_ssa(simulate(rng, by_turn=by_turn)) for _ in range(200)]
    for name, truth in TRUTH.items():
        estimates = [getattr(one, name) for one in found]
        covered = np.mean([e.interval.low <= truth <= e.interval.high for e in estimates])
        width = np.mean([e.interval.high - e.interval.low for e in estimates])
        human = np.mean([e.human_interval.high - e.human_interval.low for e in estimates])
        bias = np.mean([e.value for e in estimates]) - truth
        assert 0.91 <= covered <= 0.985, name  # sd of the share: 0.015
        assert width < 0.85 * human, name
        assert abs(bias) < 0.01, name


def test_a_scorer_of_no_use_does_no_harm():
    rng = np.random.default_rng(1)
    ratios, covered = [], []
    for _ in range(100):
        responses = [
            Response(one.cluster, tuple(sorted(rng.random(2), reverse=True)), one.labelled)
            for one in simulate(rng)
        ]
        ssa = estimate_ssa(responses).ssa
        human = ssa.human_interval
        ratios.append((ssa.interval.high - ssa.interval.low) / (human.high - human.low))
        covered.append(ssa.interval.low <= TRUTH["ssa"] <= ssa.interval.high)
    assert 0.9 < np.mean(ratios) <= 1.0
    assert np.mean(covered) >= 0.9


def test_the_weight_is_that_of_the_paper():
    """PPI++ eq. 5 for a mean of independent labels: cov(Y, f) / ((1 + n/N) var(f))."""
    rng = np.random.default_rng(5)
    n, others = 300, 900
    f = rng.random(n + others)
    y = (rng.random(n + others) < f).astype(float)
    responses = [
        Response(i, (float(f[i]), 0.0), (float(y[i]), 0.0) if i < n else None)
        for i in range(n + others)
    ]
    pooled = (np.var(f[:n]) * others + np.var(f[n:]) * n) / (n + others)
    expected = np.cov(y[:n], f[:n], ddof=0)[0, 1] / ((1 + n / others) * pooled)
    found = estimate_ssa(responses).sensible
    assert found.weight == pytest.approx(expected, rel=0.01)
    assert found.value == pytest.approx(y[:n].mean() + found.weight * (f[n:].mean() - f[:n].mean()))


def test_everything_labelled_is_the_mean_of_the_labels():
    responses = [Response(i, (0.5, 0.5), (float(i % 2), float(i % 4 == 1))) for i in range(40)]
    found = estimate_ssa(responses)
    assert (found.sensible.value, found.specific.value, found.ssa.value) == (0.5, 0.25, 0.375)
    assert found.sensible.interval == found.sensible.human_interval
    assert (found.labelled, found.unlabelled) == (40, 0)


def test_specificity_never_comes_out_above_sensibleness():
    rng = np.random.default_rng(3)
    for _ in range(50):
        responses = [
            Response(i, (float(a), float(min(a, b))), (y, y) if i < 8 else None)
            for i, (a, b) in enumerate(rng.random((60, 2)))
            for y in [float(rng.random() < 0.5)]
        ]
        found = estimate_ssa(responses)
        assert found.specific.value <= found.sensible.value
        assert found.ssa.value == pytest.approx((found.sensible.value + found.specific.value) / 2)


def test_labels_in_one_conversation_give_no_estimate():
    responses = [Response("a", (0.5, 0.5), (1.0, 1.0)), Response("b", (0.5, 0.5))]
    assert estimate_ssa(responses) is None
