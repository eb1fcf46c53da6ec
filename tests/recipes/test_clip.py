"""What a clip states about itself is measured in its samples."""

import dataclasses

import librosa
import numpy as np
import pytest

from nemo_desta.recipes.clip import render_clip, write_clip
from nemo_desta.recipes.noise import NOISES, SAMPLING_RATE, snr_db
from nemo_desta.recipes.plan import F0, SPLITS
from nemo_desta.recipes.voices import load_voices


def _median_f0(wave: np.ndarray) -> float:
    f0, voiced, _ = librosa.pyin(wave, fmin=55, fmax=420, sr=SAMPLING_RATE, frame_length=1024, resolution=0.2)
    return float(np.median(f0[voiced & ~np.isnan(f0)]))


def _first(plans, count, **wanted):
    fits = [
        plan
        for plan in plans
        if all(getattr(plan, key, None) == value or plan.custom.get(key) == value for key, value in wanted.items())
    ]
    assert len(fits) >= count, wanted
    return fits[:count]


@pytest.mark.parametrize("noise_type", list(NOISES))
def test_stated_snr_is_the_measured_one(plans, noise_type):
    for plan in _first(plans, 3, noise="noisy", noise_type=noise_type):
        clip = render_clip(plan)
        assert snr_db(clip.signal, clip.noise) == pytest.approx(plan.custom["snr_db"], abs=1e-6)


def test_clean_clips_are_clean_but_never_digitally_silent(plans):
    for domain in ("speech", "sound", "music"):
        for plan in _first([p for p in plans if p.custom.get("noise") != "noisy"], 3, domain=domain):
            clip = render_clip(plan)
            assert 45 < snr_db(clip.signal, clip.noise) < 65
            assert np.std(clip.noise[:800]) > 0


@pytest.mark.parametrize("gender", list(F0))
@pytest.mark.parametrize("pitch", ["low", "normal", "high"])
def test_median_f0_has_the_stated_gender_and_pitch(plans, gender, pitch):
    low, high = F0[gender][pitch]
    for plan in _first(plans, 3, domain="speech", gender=gender, pitch=pitch, noise="clean", speaking_speed="slow"):
        assert 0.9 * low < _median_f0(render_clip(plan).signal) < 1.1 * high, plan


def test_every_voice_keeps_its_gender():
    """Same words and rate from all voices: women's fundamentals and formants lie higher than men's."""
    from nemo_desta.recipes.espeak import speak

    for voice in load_voices()[::3]:
        f0 = {"male": 138.0, "female": 172.0}[voice.gender]
        wave = speak("We are all in a large room.", voice.definition(f0, 1.4)) / 32768
        measured = _median_f0(librosa.resample(wave, orig_sr=22050, target_sr=SAMPLING_RATE))
        assert (measured < 150) == (voice.gender == "male"), (voice.name, measured)


def test_speed_classes_do_not_overlap(plans):
    plan = _first(plans, 1, domain="speech", language="English", noise="clean")[0]
    seconds = []
    for rate in (112, 160, 182, 235):
        clip = render_clip(dataclasses.replace(plan, recipe={**plan.recipe, "rate": rate}))
        seconds.append(len(clip.signal) / SAMPLING_RATE - 0.45)
    assert seconds[0] > 1.25 * seconds[1] and seconds[2] > 1.2 * seconds[3]


def test_levels_are_finite_never_clipped_and_lengths_short(plans):
    peaks = []
    for plan in plans[::9]:
        wave = np.sum(dataclasses.astuple(render_clip(plan)), axis=0)
        peaks.append(np.max(np.abs(wave)))
        assert np.all(np.isfinite(wave)) and 0.7 < len(wave) / SAMPLING_RATE < 7.0, plan
    assert min(peaks) > 0.39 and max(peaks) < 0.91 and np.std(peaks) > 0.05


def test_a_clip_that_exists_is_kept_and_no_part_is_left(plans, tmp_path):
    plan = plans[0]
    folder = tmp_path / "audio" / SPLITS[0]
    folder.mkdir(parents=True)
    write_clip(plan, tmp_path)
    (path,) = folder.iterdir()
    path.write_bytes(b"kept")
    write_clip(plan, tmp_path)
    assert [p.name for p in folder.iterdir()] == [f"{plan.id}.wav"] and path.read_bytes() == b"kept"
