"""The plan of the demo corpus: which clip is made how. Every attribute is decided here, before anything sounds.

Within a split, speaker gender, speaking speed and noise are crossed in balanced blocks; pitch, voice, accent or language,
noise type, SNR and sentence are dealt independently of them. So no transcript, voice or level tells an attribute.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.music import DRUMS, INSTRUMENTS, MODES
from nemo_desta.recipes.noise import NOISES
from nemo_desta.recipes.sounds import SOUNDS
from nemo_desta.recipes.voices import load_sentences, load_voices

__all__ = ["F0", "RATES", "SPLITS", "TEMPI", "UNSEEN", "ClipPlan", "plan_corpus", "split_sizes"]

T = TypeVar("T")

UNSEEN = "test_unseen_voices"
SPLITS = ("train", "validation", "test", UNSEEN)
_SHARES = {"validation": 0.10, "test": 0.09, UNSEEN: 0.13}
"""Share of the clips, and of each language's sentences, in each split; the rest is train."""
_SOUND_SHARE, _MUSIC_SHARE, _ENGLISH_SHARE = 0.18, 0.17, 0.75

RATES = {"slow": (95, 112), "normal": (160, 182), "fast": (235, 265)}
"""Speaking speed -> libespeak-ng's rate (nominal words per minute), lowest and highest."""
F0 = {
    "male": {"low": (78, 88), "normal": (100, 112), "high": (125, 138)},
    "female": {"low": (172, 184), "normal": (206, 222), "high": (252, 274)},
}
"""Gender and pitch class -> median fundamental in Hz, lowest and highest."""
TEMPI = {"slow": (56, 72), "moderate": (96, 112), "fast": (150, 180)}
"""Tempo class -> beats per minute, lowest and highest."""
SNRS_DB = (5, 10)
_ACCENTS = {"American": "en-us", "British": "en", "Scottish": "en-gb-scotland", "Caribbean": "en-029"}
_ACCENT_DECK = ("American",) * 4 + ("British",) * 3 + ("Scottish",) * 2 + ("Caribbean",)
_LANGUAGES = {"French": "fr", "Spanish": "es", "German": "de", "Italian": "it"}


@dataclass(frozen=True)
class ClipPlan:
    """One clip to be made. The same plan always gives the same samples."""

    id: str
    """Unique in the corpus and the stem of the audio file."""
    split: str
    domain: str
    """ "speech", "sound" or "music"."""
    seed: tuple[int, int]
    """Seeds the generator that draws whatever the plan leaves open."""
    custom: dict[str, Any]
    """The supervision's custom attributes."""
    text: str | None = None
    language: str | None = None
    gender: str | None = None
    speaker: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    """What only the synthesis of speech needs: libespeak-ng's language and rate, median fundamental in Hz."""


def split_sizes(num_clips: int | Mapping[str, int]) -> dict[str, int]:
    """Clips in each split, for a total or as given split by split. Raises ConfigError for an unusable number."""
    if isinstance(num_clips, Mapping):
        sizes = dict(num_clips)
        if set(sizes) - set(SPLITS) or any(size < 0 for size in sizes.values()) or sum(sizes.values()) == 0:
            raise ConfigError(f"num_clips={sizes}: give a number of clips for some of the splits {', '.join(SPLITS)}")
        return {split: sizes.get(split, 0) for split in SPLITS}
    if num_clips < 40:
        raise ConfigError(f"num_clips={num_clips}: at least 40 clips are needed to fill every split")
    sizes = {split: round(share * num_clips) for split, share in _SHARES.items()}
    return {"train": num_clips - sum(sizes.values()), **sizes}


def plan_corpus(num_clips: int | Mapping[str, int], seed: int = 0) -> list[ClipPlan]:
    """Plan every clip of the corpus, split after split; depends on nothing but the arguments and the data files."""
    sentences = _split_sentences(seed)
    plans = []
    for split, size in split_sizes(num_clips).items():
        rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
        plans += _plan_split(rng, split, size, seed, sentences[split])
    return plans


def _split_sentences(seed: int) -> dict[str, dict[str, list[str]]]:
    """{split: {language: sentences}}, no sentence in two splits."""
    parts: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for language, sentences in load_sentences().items():
        rng = np.random.default_rng([seed, zlib.crc32(language.encode())])
        order = [sentences[i] for i in rng.permutation(len(sentences))]
        for split, share in _SHARES.items():
            count = round(share * len(sentences))
            parts[split][language], order = order[:count], order[count:]
        parts["train"][language] = order
    return parts


def _plan_split(
    rng: np.random.Generator, split: str, size: int, seed: int, sentences: Mapping[str, Sequence[str]]
) -> list[ClipPlan]:
    num_sound, num_music = round(_SOUND_SHARE * size), round(_MUSIC_SHARE * size)
    num_speech = size - num_sound - num_music
    num_english = round(_ENGLISH_SHARE * num_speech)
    drafts = _english(rng, split, num_english) + _foreign(rng, split, num_speech - num_english)
    decks = {language: _deal(rng, pool) for language, pool in sentences.items()}
    for draft in drafts:
        draft["text"] = next(decks[draft["language"]])
    drafts += _sounds(rng, num_sound) + _music(rng, num_music)
    order = rng.permutation(len(drafts))
    return [_finish(split, number, seed, drafts[i]) for number, i in enumerate(order)]


def _finish(split: str, number: int, seed: int, draft: dict[str, Any]) -> ClipPlan:
    clip_id = f"{split}-{number:05d}"
    return ClipPlan(id=clip_id, split=split, seed=(seed, zlib.crc32(clip_id.encode())), **draft)


def _deal(rng: np.random.Generator, cards: Sequence[T]) -> Iterator[T]:
    """Deal a shuffled pack of cards for ever, shuffled anew each time it is used up."""
    while True:
        for i in rng.permutation(len(cards)):
            yield cards[i]


def _crossed(rng: np.random.Generator, count: int) -> list[tuple[str, str, bool]]:
    """(gender, speed, noisy) of `count` clips, every combination as often as the others.

    Clips come in mirrored pairs (the other gender, fast for slow, noisy for clean), so that the part of a block that
    remains at the end is balanced too.
    """
    mirror = {"slow": "fast", "normal": "normal", "fast": "slow"}
    first = list(itertools.product(RATES, (False, True)))
    pairs = _deal(rng, first)
    cells: list[tuple[str, str, bool]] = []
    while len(cells) < count:
        speed, noisy = next(pairs)
        pair = [("male", speed, noisy), ("female", mirror[speed], not noisy)]
        cells += pair if rng.integers(2) else pair[::-1]
    return cells[:count]


def _speech(rng: np.random.Generator, split: str, count: int) -> list[dict[str, Any]]:
    """Speech without its words and language yet."""
    voices = {
        gender: _deal(rng, [v.name for v in load_voices() if v.gender == gender and v.unseen == (split == UNSEEN)])
        for gender in F0
    }
    pitches = {gender: _deal(rng, list(F0[gender])) for gender in F0}
    noises = _deal(rng, list(itertools.product(NOISES, SNRS_DB)))
    drafts = []
    for gender, speed, noisy in _crossed(rng, count):
        pitch = next(pitches[gender])
        custom = {
            "domain": "speech",
            "speaking_speed": speed,
            "pitch": pitch,
            "noise": "noisy" if noisy else "clean",
        }
        if noisy:
            custom["noise_type"], custom["snr_db"] = next(noises)
        low, high = RATES[speed]
        recipe = {"rate": int(rng.integers(low, high + 1)), "f0": round(float(rng.uniform(*F0[gender][pitch])), 1)}
        drafts.append(
            {"domain": "speech", "gender": gender, "speaker": next(voices[gender]), "custom": custom, "recipe": recipe}
        )
    return drafts


def _english(rng: np.random.Generator, split: str, count: int) -> list[dict[str, Any]]:
    accents = {gender: _deal(rng, _ACCENT_DECK) for gender in F0}
    drafts = _speech(rng, split, count)
    for draft in drafts:
        accent = next(accents[draft["gender"]])
        draft["language"] = "English"
        draft["custom"]["accent"] = accent
        draft["recipe"]["espeak_language"] = _ACCENTS[accent]
    return drafts


def _foreign(rng: np.random.Generator, split: str, count: int) -> list[dict[str, Any]]:
    languages = {gender: _deal(rng, list(_LANGUAGES)) for gender in F0}
    drafts = _speech(rng, split, count)
    for draft in drafts:
        draft["language"] = next(languages[draft["gender"]])
        draft["recipe"]["espeak_language"] = _LANGUAGES[draft["language"]]
    return drafts


def _sounds(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    categories = _deal(rng, list(SOUNDS))
    return [
        {"domain": "sound", "custom": {"domain": "sound", "audio_category": next(categories)}} for _ in range(count)
    ]


def _music(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    instruments, tempi, modes = _deal(rng, list(INSTRUMENTS)), _deal(rng, list(TEMPI)), _deal(rng, list(MODES))
    drafts = []
    for _ in range(count):
        instrument, tempo = next(instruments), next(tempi)
        bpm = int(rng.integers(TEMPI[tempo][0], TEMPI[tempo][1] + 1))
        custom = {"domain": "music", "instrument": instrument, "tempo": tempo, "tempo_bpm": bpm}
        if instrument != DRUMS:
            custom["mode"] = next(modes)
        drafts.append({"domain": "music", "custom": custom})
    return drafts
