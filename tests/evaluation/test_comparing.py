"""Paired comparison: worked out by hand where it can be, by coverage where not."""

import json
from dataclasses import replace
from math import isnan, sqrt

import numpy as np
import pytest

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.baselines import audio_helped, chance
from nemo_desta.evaluation.comparing import compare
from nemo_desta.evaluation.paired import bootstrap, holm, mcnemar, newcombe
from nemo_desta.evaluation.scores import Metric
from tests.evaluation.made_scores import RULE, items, scores


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (8, 2, 2 * (45 + 10 + 1) / 1024), (3, 3, 1.0)],
    ids=["none discordant", "one", "five heads", "five tails", "8 of 10", "even"],
)
def test_mcnemar_is_a_fair_coin_over_discordant_items(first_only, second_only, p):
    assert mcnemar(first_only, second_only) == pytest.approx(p)


def test_newcombe_where_both_are_always_right_keeps_wilsons_width():
    below = 1 - 20 / (20 + 1.959964**2)  # Wilson's lower end at 20 of 20 is n / (n + z^2)
    assert newcombe(np.ones(20), np.ones(20)) == pytest.approx((-below, below))


def test_newcombe_of_uncorrelated_runs_adds_squares():
    first, second = np.array([1, 1, 0, 0] * 5), np.array([1, 0, 1, 0] * 5)  # both*neither = only*only: phi is 0
    half = 1.959964 * sqrt(0.25 / 20 + 1.959964**2 / 1600) / (1 + 1.959964**2 / 20)  # Wilson's at one half is symmetric
    assert newcombe(first, second) == pytest.approx((-sqrt(2) * half, sqrt(2) * half))


def test_newcombe_of_runs_alike_is_narrower_than_of_runs_at_odds():
    right = np.array([1.0, 0.0] * 20)
    alike, odds = newcombe(right, right), newcombe(right, 1 - right)
    assert alike[1] - alike[0] < odds[1] - odds[0]


def test_newcombe_covers_95_percent():
    rng, hits, n = np.random.default_rng(0), 0, 50
    for _ in range(1500):
        hard = rng.random(n)
        low, high = newcombe((hard < 0.7).astype(float), (hard + rng.uniform(-0.2, 0.2, n) < 0.5).astype(float))
        hits += low <= 0.2 <= high
    assert 0.93 < hits / 1500 < 0.985


def test_bootstrap_of_constant_differences():
    assert bootstrap([np.zeros(9)]) == (0.0, 0.0, 1.0)
    low, high, p = bootstrap([np.full(9, 0.5)])
    assert (low, high) == pytest.approx((0.5, 0.5)) and p == pytest.approx(2 / 2**9, abs=0.002)


def test_randomising_signs_of_right_and_wrong_items_is_mcnemar():
    differences = np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 30)
    assert bootstrap([differences])[2] == pytest.approx(mcnemar(8, 2), abs=0.01)


def test_two_items_decide_nothing():
    for ours, theirs in ((1, 0), (0.75, 0.25)):
        found = compare(scores(items([ours] * 2)), scores(items([theirs] * 2))).overall
        assert found.low > 0 and found.p_value == pytest.approx(0.5, abs=0.02) and found.decided == 0


def test_bootstrap_agrees_with_the_normal_approximation():
    differences = np.tile([0.25, -0.25, 0.75, 0.0], 100)
    low, high, p = bootstrap([differences])
    error = differences.std() / sqrt(400)
    assert (low, high) == pytest.approx((0.1875 - 1.96 * error, 0.1875 + 1.96 * error), abs=0.004) and p < 0.001


def test_bootstrap_counts_strata_alike():
    low, high, _ = bootstrap([np.zeros(1000), np.ones(10)])
    assert (low, high) == (0.5, 0.5), "not 10 / 1010"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_right_and_wrong_items():
    first, second = scores(items([1, 1, 1, 1, 1, 0, 0, 1])), scores(items([0, 0, 0, 0, 0, 0, 0, 1]), "cascade")
    found = compare(first, second).overall
    assert (found.method, found.n, found.first_better, found.second_better) == ("mcnemar", 8, 5, 0)
    assert (found.first, found.second, found.difference) == (75.0, 12.5, 62.5)
    assert found.p_value == pytest.approx(0.0625) and isnan(found.p_holm)
    turned = compare(second, first).overall
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-62.5, -found.high, -found.low))


def test_items_are_matched_by_id_not_by_place():
    made = items([1, 0, 0, 1])
    assert compare(scores(made), scores(made[::-1])).overall.first_better == 0


def test_graded_items_take_the_bootstrap():
    rating = Metric("rating", "all", 3.0, 0, 5, 3, "1-5")
    first, second = scores(items([2.0, 3.0, 4.0]), metrics=[rating]), scores(items([1.0, 2.0, 3.0]), metrics=[rating])
    found = compare(first, second)
    assert (found.overall.method, found.unit) == ("bootstrap", "1-5")
    assert (found.overall.difference, found.overall.low, found.overall.high) == (1.0, 1.0, 1.0)


def test_groups_are_compared_by_themselves_with_holm():
    groups = [{"task": t} for t in "aaaaaabbbbbb"]
    first, second = scores(items([1] * 6 + [0, 1] * 3, groups)), scores(items([0] * 6 + [1, 0] * 3, groups))
    found = compare(first, second)
    by_name = {g.group: g for g in found.groups}
    assert by_name["task=a"].p_value == pytest.approx(2 / 64) and by_name["task=a"].p_holm == pytest.approx(4 / 64)
    assert by_name["task=b"].p_value == 1.0
    assert "2 groups are compared" in found.multiple and "2 groups are compared" in str(found)


def test_a_group_is_shown_once():
    groups = [{"task": "a", "same": "x", "everything": "all"}] * 2 + [
        {"task": "b", "same": "y", "everything": "all"}
    ] * 2
    assert [
        g.group for g in compare(scores(items([1, 0, 1, 0], groups)), scores(items([1, 1, 1, 0], groups))).groups
    ] == [
        "task=a",
        "task=b",
    ]


def test_a_headline_of_subsets_means_is_compared_as_such():
    def made(large, small):
        found = [replace(i, subset="large") for i in items(large)] + [
            replace(i, subset="small") for i in items(small, prefix="s")
        ]
        mean = 50 * (sum(large) / len(large) + sum(small) / len(small))
        return scores(found, metrics=[Metric("accuracy", "all", mean, 0, 100, len(found))])

    found = compare(made([1] * 10, [1, 0]), made([0] * 10, [1, 0]))
    assert found.overall.difference == 50.0 and found.overall.method == "bootstrap"
    assert any("subsets' means" in n for n in found.notes)


def test_a_headline_computed_otherwise_is_said():
    first = scores(items([1, 0]), metrics=[Metric("overall", "all", 77.0, 0, 100, 2)])
    found = compare(first, scores(items([0, 0])))
    assert found.overall.difference == 50.0 and any("computed otherwise" in n for n in found.notes)


def test_items_without_a_verdict_are_left_out_and_counted():
    found = compare(scores(items([1, None, 0])), scores(items([1, 1, None])))
    assert found.overall.n == 1
    assert any("2 items have a value in one run alone" in n and "i1, judge_failed and right" in n for n in found.notes)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rule": {**RULE, "name": "other"}}, "rule: exact and other"),
        ({"rule": {**RULE, "version": "x"}}, "version of the rule: owner/repo abc123 and x"),
        ({"judge": {"model": "gpt"}}, "judge: None and gpt"),
        (
            {"data": {"version": "w" * 64, "known_as": None}},
            r"version of the data: v1 \(vvvvvvvvvvvv\) and unknown \(wwww",
        ),
        ({"made": items([1, 1])}, "items: 1 only in the first, 0 only in the second .one: 'i2'., 2 in both"),
        (
            {"made": [*items([1, 1]), replace(items([1, 1, 1])[2], reference="Bell")]},
            r"gold answers of 1 items \(first: i2\)",
        ),
    ],
    ids=["rule", "version of the rule", "judge", "data", "ids", "gold answer"],
)
def test_what_is_not_the_same_is_refused_or_noted(changed, message):
    first = scores(items([1, 0, 1]))
    second = scores(changed.pop("made", items([1, 1, 1])), **changed)
    with pytest.raises(EvaluationError, match=message):
        compare(first, second)
    found = compare(first, second, allow_partial=True)
    assert any("NOT THE SAME IN BOTH" in n for n in found.notes)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (scores(items([1]), benchmark="sakura"), "different benchmarks"),
        (scores(items([1]) * 2), "there twice"),
        (scores(items([1], prefix="x")), "no item in common"),
    ],
)
def test_what_cannot_be_compared_is_refused_even_in_part(second, message):
    with pytest.raises(EvaluationError, match=message):
        compare(scores(items([1])), second, allow_partial=True)


def test_table_and_json():
    groups = [{"task": t} for t in "aabb"]
    found = compare(scores(items([1, 1, 1, 0], groups)), scores(items([0, 1, 1, 0], groups), "cascade"))
    text = str(found)
    assert "first = desta, second = cascade" in text and "+25.00" in text and "task=a" in text
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["overall"]["p_holm"] is None and plain["names"] == ["desta", "cascade"] and len(plain["groups"]) == 2


def test_chance_is_the_mean_with_the_spread_of_guessing():
    found = chance(scores(items([0] * 100, chance=0.25)))
    assert (found.value, found.n) == (25.0, 100)
    assert found.high - found.value == pytest.approx(1.959964 * 100 * sqrt(0.25 * 0.75 / 100))


def test_chance_is_none_where_guessing_has_no_meaning():
    assert chance(scores(items([0, 1]))) is None
    mixed = chance(scores([*items([0], chance=0.5), *items([1], prefix="x")]))
    assert mixed.value == 50.0 and mixed.n == 1 and "1 of 2 items" in mixed.note


def test_where_audio_helped():
    groups = [{"task": t} for t in ["sound"] * 40 + ["speech"] * 40 + ["music"] * 40]
    model = scores(items([1] * 40 + [0] * 40 + [1, 0] * 20, groups))
    cascade = scores(items([0] * 40 + [1] * 40 + [1, 0] * 20, groups), "cascade")
    found = audio_helped(model, cascade)
    assert [g.group for g in found.helped] == ["task=sound"] and [g.group for g in found.hurt] == ["task=speech"]
    assert [g.group for g in found.unclear] == ["task=music"]
    line = str(found)
    assert "\n" not in line and line.index("sound") < line.index("speech") < line.index("music")


def test_a_group_that_is_better_by_chance_is_not_claimed():
    groups = [{"task": t} for t in ["sound"] * 40 + ["speech"] * 40]
    values = [1] * 2 + [0] * 38 + [1, 0] * 20
    found = audio_helped(scores(items(values, groups)), scores(items([0] * 40 + [1, 0] * 20, groups), "cascade"))
    assert found.helped == () and {g.group for g in found.unclear} == {"task=sound", "task=speech"}


def test_where_nothing_can_be_said():
    line = str(audio_helped(scores(items([1, 0])), scores(items([0, 0]), "cascade")))
    assert "nothing can be said" in line
