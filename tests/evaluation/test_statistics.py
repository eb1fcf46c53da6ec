"""Statistics against values known otherwise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nemo_desta.evaluation.statistics import (
    Interval,
    accuracy,
    auc,
    bootstrap_interval,
    macro_auc,
    ratio,
    resample_counts,
    wilson_interval,
)


def test_auc_counts_ties_as_halves():
    scores, positive = np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])
    assert auc(scores, positive)[0] == pytest.approx(3.5 / 4)  # by hand: 4 pairs, one of them tied


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_equals_sklearn(items):
    scores, positive = np.array([s for s, _ in items], float), np.array([p for _, p in items])
    if positive.all() or not positive.any():
        assert np.isnan(auc(scores, positive)[0])
    else:
        assert auc(scores, positive)[0] == pytest.approx(roc_auc_score(positive, scores))


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    counts = np.array([0, 3, 1, 1, 2, 0, 1, 1, 1, 0, 1, 1])
    repeated = np.repeat(np.arange(12), counts)
    assert macro_auc(scores, labels, counts[None])[0] == pytest.approx(macro_auc(scores[repeated], labels[repeated])[0])
    assert accuracy(scores, labels, counts[None])[0] == pytest.approx(accuracy(scores[repeated], labels[repeated])[0])


def test_macro_auc_of_two_classes_is_the_auc_of_their_difference():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    assert macro_auc(scores, labels)[0] == pytest.approx(roc_auc_score(labels, scores[:, 1] - scores[:, 0]))


def test_very_sure_scores_are_still_ranked():
    scores = np.array([[80.0, 0.0, 0.0], [60.0, 0.0, 0.0], [70.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    assert macro_auc(scores, np.array([0, 1, 0, 1]))[0] == pytest.approx((1.0 + 1.0) / 2)


def test_macro_auc_ignores_what_shifts_all_choices_of_a_clip():
    rng = np.random.default_rng(2)
    scores, labels = rng.normal(size=(30, 4)), rng.integers(0, 4, 30)
    shifted = scores + rng.normal(scale=100, size=(30, 1))
    assert macro_auc(shifted, labels)[0] == pytest.approx(macro_auc(scores, labels)[0])


def test_tied_choices_are_not_right_for_standing_first():
    assert accuracy(np.zeros((6, 3)), np.array([0, 0, 0, 0, 0, 0]))[0] == pytest.approx(1 / 3)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for i in range(200):
        sample = rng.exponential(size=60)
        found = bootstrap_interval(lambda w, s=sample: ratio(s, np.ones(60), w), 60, seed=i, num_resamples=400)
        covered += found.low <= 1.0 <= found.high
    assert 170 <= covered <= 199  # nominal 190


def test_resamples_keep_their_size_and_follow_the_seed():
    counts = resample_counts(17, seed=4, num_resamples=5)
    assert (counts.sum(axis=1) == 17).all()
    assert (counts == resample_counts(17, seed=4, num_resamples=5)).all()
    assert (counts != resample_counts(17, seed=5, num_resamples=5)).any()


def test_wilson_interval_known_values():
    found = wilson_interval(20, 20)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.8389, abs=1e-4)
    assert wilson_interval(8, 10).low == pytest.approx(0.4902, abs=1e-4)


def test_undefined_values_are_null_in_json():
    assert Interval(float("nan"), float("nan"), 1.0).to_dict() == {"value": None, "low": None, "high": 1.0}
    assert np.isnan(bootstrap_interval(lambda w: w.sum(1), 0).value)
