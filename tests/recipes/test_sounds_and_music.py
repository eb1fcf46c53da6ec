"""Synthesised sounds and music: every class sounds, and tempo and mode are what is stated."""

import librosa
import numpy as np
import pytest

from nemo_desta.recipes.draw import Draw
from nemo_desta.recipes.music import DRUMS, INSTRUMENTS, MODES, compose, play
from nemo_desta.recipes.noise import SAMPLING_RATE
from nemo_desta.recipes.sounds import SOUNDS


def _draw(seed: int, unseen: bool = False) -> Draw:
    return Draw(np.random.default_rng(seed), unseen)


def _on_grid(wave: np.ndarray, tempo: float) -> float:
    """How strong the onsets are, on average, on the beats of a tempo in beats a minute (the first beat at 0)."""
    strength = librosa.onset.onset_strength(y=np.pad(wave, (1600, 0)), sr=SAMPLING_RATE, hop_length=128)
    beats = 0.1 + np.arange(0, len(wave) / SAMPLING_RATE - 1.2, 60 / tempo)
    frames = np.round(beats * SAMPLING_RATE / 128).astype(int)
    return float(np.mean([np.max(strength[max(0, frame - 4) : frame + 7]) for frame in frames]))


def test_there_is_variety():
    assert len(SOUNDS) >= 12 and len(INSTRUMENTS) >= 5


@pytest.mark.parametrize("category", list(SOUNDS))
def test_every_sound_is_finite_audible_and_different_each_time(category):
    waves = [SOUNDS[category](_draw(seed, unseen=seed % 2 == 1)) for seed in range(6)]
    for wave in waves:
        assert np.all(np.isfinite(wave)) and 1.9 < len(wave) / SAMPLING_RATE < 5.1
        assert np.max(np.abs(wave)) > 0.05
    assert len({wave.tobytes() for wave in waves}) == 6


@pytest.mark.parametrize("instrument", [name for name in INSTRUMENTS if name != DRUMS])
@pytest.mark.parametrize("pitch", [64, 71])
def test_instruments_play_in_tune(instrument, pitch):
    tone = INSTRUMENTS[instrument](_draw(1), pitch, 1.0, 0.5)
    f0, voiced, _ = librosa.pyin(tone, fmin=100, fmax=1500, sr=SAMPLING_RATE, frame_length=1024)
    cents = 1200 * np.log2(np.median(f0[voiced]) / (440 * 2 ** ((pitch - 69) / 12)))
    assert abs(cents) < 15, (instrument, cents)


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("instrument", ["piano", "violin"])
def test_notes_are_of_the_stated_mode_and_make_it_audible(mode, instrument):
    for seed in range(20):
        notes = compose(_draw(seed), instrument, 100, mode)
        tonic = notes[0].pitch
        steps = {(note.pitch - tonic) % 12 for note in notes}
        assert steps <= {step % 12 for step in MODES[mode]}
        assert {"major": 4, "minor": 3}[mode] in steps, "without its third no mode can be heard"


@pytest.mark.parametrize("tempo", [60, 104, 165])
@pytest.mark.parametrize("instrument", [DRUMS, "xylophone", "guitar"])
def test_onsets_follow_the_stated_tempo(tempo, instrument):
    draw = _draw(tempo)
    notes = compose(draw, instrument, tempo, None if instrument == DRUMS else "major")
    wave = play(draw, instrument, tempo, notes)
    assert {note.beat for note in notes} == set(range(int(max(note.beat for note in notes)) + 1))
    others = [_on_grid(wave, ratio * tempo) for ratio in (0.7, 0.8, 0.9, 1.1, 1.25, 1.4)]
    assert _on_grid(wave, tempo) > 1.15 * max(others), "another tempo fits the onsets as well as the stated one"


@pytest.mark.parametrize("instrument", list(INSTRUMENTS))
def test_every_instrument_plays_a_finite_phrase(instrument):
    draw = _draw(7, unseen=True)
    wave = play(draw, instrument, 104, compose(draw, instrument, 104, None if instrument == DRUMS else "minor"))
    assert np.all(np.isfinite(wave)) and 2.0 < len(wave) / SAMPLING_RATE < 7.0 and np.max(np.abs(wave)) > 0.1


def test_unseen_parameters_are_never_drawn_for_the_other_splits():
    seen, unseen = _draw(0), _draw(1, unseen=True)
    drawn = np.array([seen.uniform(10, 20) for _ in range(2000)])
    held_out = np.array([unseen.uniform(10, 20) for _ in range(200)])
    assert not np.any((drawn > 14.5) & (drawn < 16)) and drawn.min() < 10.5 and drawn.max() > 19.5
    assert np.all((held_out >= 14.5) & (held_out <= 16))
