"""The plan keeps the promises on which an evaluation rests: disjoint splits, balance, independence."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.plan import SPLITS, UNSEEN, plan_corpus, split_sizes
from nemo_desta.recipes.voices import load_sentences, load_voices


def _speech(plans, split=None):
    return [plan for plan in plans if plan.domain == "speech" and split in (None, plan.split)]


def test_default_corpus_is_large_enough_and_mixed(plans):
    sizes = Counter(plan.split for plan in plans)
    domains = Counter(plan.domain for plan in plans)
    languages = Counter(plan.language for plan in _speech(plans))
    assert len(plans) == 480 and set(sizes) == set(SPLITS) and min(sizes.values()) >= 40
    assert 0.6 < domains["speech"] / 480 < 0.7 and domains["sound"] > 80 and domains["music"] > 75
    assert 0.7 < languages["English"] / domains["speech"] < 0.8 and len(languages) == 5


def test_ids_and_seeds_are_unique(plans):
    assert len({plan.id for plan in plans}) == len({plan.seed for plan in plans}) == len(plans)


def test_no_sentence_in_two_splits(plans):
    splits = defaultdict(set)
    for plan in _speech(plan_corpus(2400, seed=3)):
        splits[plan.text].add(plan.split)
    assert all(len(where) == 1 for where in splits.values())
    assert len(splits) > 500, "a large corpus should use most of the sentences"


def test_unseen_voices_are_heard_nowhere_else(plans):
    seen = {plan.speaker for plan in _speech(plans) if plan.split != UNSEEN}
    unseen = {plan.speaker for plan in _speech(plans, UNSEEN)}
    assert not seen & unseen
    assert len(unseen) >= 10 and len(seen) >= 24


@pytest.mark.parametrize("split", SPLITS)
def test_gender_noise_and_speed_are_balanced_in_every_split(plans, split):
    clips = _speech(plans, split)
    gender = Counter(clip.gender for clip in clips)
    noise = Counter(clip.custom["noise"] for clip in clips)
    speed = Counter(clip.custom["speaking_speed"] for clip in clips)
    assert abs(gender["male"] - gender["female"]) <= 2
    assert abs(noise["noisy"] - noise["clean"]) <= 2
    assert abs(speed["fast"] - speed["slow"]) <= 4 and speed["normal"] >= 0.2 * len(clips)


def _cramers_v(pairs) -> float:
    """Association between two attributes, 0 (independent) to 1."""
    table = Counter(pairs)
    rows, columns = sorted({r for r, _ in table}, key=str), sorted({c for _, c in table}, key=str)
    counts = np.array([[table[r, c] for c in columns] for r in rows], dtype=float)
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    return float(np.sqrt(np.sum((counts - expected) ** 2 / expected) / counts.sum() / (min(counts.shape) - 1)))


def test_attributes_are_independent_of_each_other_and_of_the_words():
    clips = _speech(plan_corpus(2400, seed=1), "train")
    attributes = {
        "gender": [clip.gender for clip in clips],
        "speed": [clip.custom["speaking_speed"] for clip in clips],
        "noise": [clip.custom["noise"] for clip in clips],
        "pitch": [clip.custom["pitch"] for clip in clips],
        "language": [clip.language for clip in clips],
        "short text": [len(clip.text) < 28 for clip in clips],
        "text begins with the": [clip.text.startswith("The ") for clip in clips],
    }
    for a, b in itertools.combinations(list(attributes)[:5], 2):
        assert _cramers_v(zip(attributes[a], attributes[b], strict=True)) < 0.09, (a, b)
    for a in ("gender", "speed", "noise", "pitch"):
        for b in ("short text", "text begins with the"):
            assert _cramers_v(zip(attributes[a], attributes[b], strict=True)) < 0.11, (a, b)


def test_sentences_never_speak_of_the_attributes():
    told = {"he", "she", "his", "her", "man", "woman", "voice", "speak", "fast", "slow", "slowly", "quick", "quickly"}
    told |= {"noise", "noisy", "loud", "quiet", "music", "song", "sound", "bell", "siren", "guitar", "violin", "drum"}
    for sentence in load_sentences()["English"]:
        assert not told & set(sentence.lower().rstrip(".").split()), sentence


def test_enough_sentences_of_each_language():
    counts = {language: len(set(sentences)) for language, sentences in load_sentences().items()}
    assert counts["English"] >= 400
    assert len(counts) == 5 and min(counts.values()) >= 60


def test_the_plan_depends_on_the_seed_alone(plans):
    assert plan_corpus(480, seed=0) == plans
    assert plan_corpus(480, seed=1) != plans


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 3000))
def test_split_sizes_add_up(num_clips):
    sizes = split_sizes(num_clips)
    assert sum(sizes.values()) == num_clips and min(sizes.values()) > 0


def test_split_sizes_given_one_by_one():
    assert split_sizes({UNSEEN: 12}) == {"train": 0, "validation": 0, "test": 0, UNSEEN: 12}
    assert len(plan_corpus({UNSEEN: 12})) == 12


@pytest.mark.parametrize("wrong", [0, -5, 39, {}, {"dev": 10}, {"train": -1}, {"train": 0}])
def test_sizes_that_make_no_corpus_are_refused(wrong):
    with pytest.raises(ConfigError, match="num_clips"):
        plan_corpus(wrong)


def test_voices_are_of_both_genders_and_named_once():
    voices = load_voices()
    assert len({voice.name for voice in voices}) == len(voices)
    for unseen, least in ((True, 5), (False, 10)):
        counts = Counter(voice.gender for voice in voices if voice.unseen is unseen)
        assert set(counts) == {"male", "female"} and min(counts.values()) >= least
