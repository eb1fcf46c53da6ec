import numpy as np
import pytest

from nemo_desta.attributes.measure import (
    DIGITS,
    Background,
    active_frames,
    frame_levels,
    measure,
    median_pitch,
    snr_estimate,
    spoken_units,
)
from tests.attributes.signals import hiss, phrases, silence, voice


def measured(audio, text="", is_speech=True):
    levels = frame_levels(audio)
    return measure(audio, levels, Background.of(levels), text, is_speech)


def pitch_of(audio):
    levels = frame_levels(audio)
    return median_pitch(audio, active_frames(levels, Background.of(levels).floor))


@pytest.mark.parametrize("f0", [75, 100, 128, 180, 221, 274, 390])
def test_pitch_is_that_of_the_pulses(f0):
    assert pitch_of(phrases(f0)) == pytest.approx(f0, rel=0.02)


@pytest.mark.parametrize("f0", [80, 240])
def test_pitch_is_found_in_noise_of_5_db(f0):
    audio = phrases(f0)
    assert pitch_of(audio + hiss(len(audio) / 16000, 0.1 * 0.816 * 10 ** (-5 / 20))) == pytest.approx(f0, rel=0.03)


def test_pitch_is_the_median_of_a_clip_longer_than_a_block():
    assert pitch_of(np.concatenate([voice(100, 28), silence(1), voice(200, 12)])) == pytest.approx(100, rel=0.02)
    assert pitch_of(np.concatenate([voice(100, 12), silence(1), voice(200, 28)])) == pytest.approx(200, rel=0.02)


def test_pitch_is_that_of_the_voice_not_of_a_faint_tone_behind_it():
    speech, behind = voice(120, 6), voice(310, 24, 1e-4)
    assert pitch_of(np.concatenate([behind, speech, speech, behind])) == pytest.approx(120, rel=0.02)


@pytest.mark.parametrize("audio", [silence(1), hiss(1, 0.1), silence(0), silence(0.01), voice(100, 0.06)])
def test_what_has_no_voice_has_no_pitch(audio):
    assert pitch_of(audio) is None


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30])
def test_noise_estimate_is_near_the_true_ratio(snr):
    audio = phrases(150)
    noise = hiss(len(audio) / 16000, float(np.sqrt(np.mean(audio**2))) * 10 ** (-snr / 20))
    levels = frame_levels(audio + noise)
    assert snr_estimate(levels, Background.of(levels)) == pytest.approx(snr, abs=1.5)


def test_without_pauses_the_noise_is_not_guessed():
    assert "snr_db_estimate" not in measured(voice(150, 2) + hiss(2, 0.03))


def test_the_background_is_heard_in_the_pauses_of_the_whole_cut():
    whole = phrases(150) + hiss(3.6, 0.02)
    part = whole[16000 * 3 // 10 : 16000 * 11 // 10]
    found = measure(part, frame_levels(part), Background.of(frame_levels(whole)), "", True)
    assert found["snr_db_estimate"] == pytest.approx(20 * np.log10(0.1 / 0.02), abs=1.5)


def test_silence_is_the_share_of_pauses_and_short_closures_are_none():
    audio = np.concatenate([silence(0.6), voice(120, 1.0), silence(0.1), voice(120, 0.9), silence(0.4)])
    assert measured(audio)["silence_share"] == pytest.approx(1 / 3, abs=0.02)
    assert measured(audio + hiss(3.0, 0.002))["silence_share"] == pytest.approx(1 / 3, abs=0.03)


def test_a_steady_sound_is_not_silent():
    assert measured(hiss(2, 0.01), is_speech=False)["silence_share"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("pause", [0.0, 1.0])
def test_volume_is_that_of_what_sounds_however_long_the_pauses(pause):
    audio = np.concatenate([voice(150, 1, 0.05), silence(pause)])
    assert measured(audio)["volume_db"] == pytest.approx(20 * np.log10(0.05), abs=0.3)


def test_digital_silence_is_all_silence_and_nothing_else():
    assert measured(silence(1), "Hello.") == {"silence_share": 1.0}


def test_speed_counts_per_second_of_speech_not_of_the_clip():
    found = measured(phrases(150), "It is ten past nine.")
    assert found["words_per_second"] == pytest.approx(5 / 2.4, rel=0.05)
    assert found["letters_per_second"] == pytest.approx(15 / 2.4, rel=0.05)


def test_sound_gets_no_measures_of_speech():
    assert measured(phrases(150), "words", is_speech=False).keys() == {"volume_db", "silence_share"}


def test_numbers_are_rounded_so_that_a_corpus_has_few_distinct_ones():
    found = measured(phrases(123.4) + hiss(3.6, 0.01), "One two three.")
    assert found.keys() == DIGITS.keys() - {"characters_per_second"}
    assert all(value == round(value, DIGITS[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Take it, Anna - now!", {"words": 4, "letters": 13}),
        ("l'été à 10 h", {"words": 4, "letters": 8}),
        ("афина джой", {"words": 2, "letters": 9}),
        ("나는 간다", {"words": 2, "letters": 4}),
        ("मैं घर जाता हूँ", {"words": 4, "letters": 6}),
        ("我每个月打一次电话。", {"characters": 9}),
        ("好那我們就 OK 開始", {"characters": 8}),
        ("コーヒーをください", {"characters": 9}),
        ("ฉันไปบ้าน", {"characters": 7}),
        ("he said 好 to me", {"words": 5, "letters": 11}),
        ("... !", {}),
        ("", {}),
    ],
)
def test_text_is_counted_in_what_its_script_has(text, units):
    assert spoken_units(text) == units


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 700])
def test_the_shortest_spans_are_measured_without_error(samples):
    assert measured(voice(200, 1)[:samples], "a").keys() <= DIGITS.keys()
