"""Audio files: every common kind is read, and what no model should see is refused with its name."""

import numpy as np
import pytest
import soundfile

from nemo_desta.audio import check_waveform, load_audio
from nemo_desta.errors import AudioError

RATES = [8_000, 22_050, 44_100, 48_000]


def tone(duration, rate, frequency=440.0):
    return (0.4 * np.sin(2 * np.pi * frequency * np.arange(round(duration * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_formats_and_rates_give_the_same_sound(tmp_path, kind, rate):
    path = tmp_path / f"x.{kind}"
    soundfile.write(path, tone(1.0, rate), rate)
    audio = load_audio(path)
    assert audio.dtype == np.float32
    assert audio.ndim == 1
    assert abs(len(audio) - 16_000) <= 1
    middle = slice(3_000, 13_000)
    spectrum = np.abs(np.fft.rfft(audio[middle] * np.hanning(10_000)))
    assert abs(np.argmax(spectrum) * 1.6 - 440) < 2
    assert np.abs(audio[middle]).max() == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "PCM_U8", "ULAW"])
def test_sample_formats(tmp_path, subtype):
    soundfile.write(tmp_path / "x.wav", tone(0.5, 16_000), 16_000, subtype=subtype)
    np.testing.assert_allclose(load_audio(tmp_path / "x.wav"), tone(0.5, 16_000), atol=0.02)


def test_channels_are_averaged(tmp_path):
    left, right = tone(0.5, 16_000), np.zeros(8_000, np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "x.wav"), left / 2, atol=1e-6)


def test_missing(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: no such audio file"):
        load_audio(tmp_path / "gone.wav")
    with pytest.raises(AudioError, match="no such audio file"):
        load_audio(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "x.wav").touch()
    with pytest.raises(AudioError, match=r"x\.wav: the audio file is empty"):
        load_audio(tmp_path / "x.wav")


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioError, match=r"x\.wav: the clip has no samples"):
        load_audio(tmp_path / "x.wav")


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_a_truncated_file_is_never_read_as_a_shorter_clip(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    soundfile.write(path, tone(2.0, 16_000), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(AudioError, match="truncated|cannot be decoded"):
        load_audio(path)


def test_a_wav_written_to_a_pipe_is_whole(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(1.0, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert len(load_audio(path)) == 16_000


def test_text_named_wav(tmp_path):
    (tmp_path / "x.wav").write_text("404 not found")
    with pytest.raises(AudioError, match=r"x\.wav: cannot be decoded .*convert it"):
        load_audio(tmp_path / "x.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("share", [0.001, 1.0])
def test_not_finite(tmp_path, bad, share):
    samples = tone(1.0, 16_000)
    samples[: round(share * 16_000)] = bad
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=f"{round(share * 16_000)} of 16000 samples are NaN or infinite"):
        load_audio(tmp_path / "x.wav")


def test_silence_is_sound(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(16_000, np.float32), 16_000)
    assert not load_audio(tmp_path / "x.wav").any()


@pytest.mark.parametrize("rate", [16_000, 11_025, *RATES])
def test_thirty_seconds_are_the_limit(tmp_path, rate):
    soundfile.write(tmp_path / "x.wav", tone(30.0, rate), rate)
    assert len(load_audio(tmp_path / "x.wav")) == 480_000
    soundfile.write(tmp_path / "x.wav", tone(31.0, rate), rate)
    with pytest.raises(AudioError, match=r"x\.wav: lasts 31\.00 s, the limit is 30 s; .*never cut silently"):
        load_audio(tmp_path / "x.wav")


def test_what_lasts_a_little_over_thirty_seconds_ends_there_and_the_log_says_so(tmp_path, caplog):
    sound = tone(30.65, 22_050)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, sound, 22_050, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.wav", sound[: 30 * 22_050], 22_050, subtype="FLOAT")
    with caplog.at_level("WARNING"):
        heard = [load_audio(tmp_path / name) for name in ("a.wav", "b.wav", "cut.wav")]
    assert np.array_equal(heard[0], heard[2]) and np.array_equal(heard[1], heard[2])
    assert [r.message for r in caplog.records if "lasts 30.65 s" in r.message and "a.wav" in r.message]
    assert len(caplog.records) == 1, "once a folder"


def test_a_long_file_is_refused_by_its_header(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "x.wav", np.zeros(40 * 8_000, np.int16), 8_000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(AudioError, match=r"lasts 40\.00 s"):
        load_audio(tmp_path / "x.wav")


def test_waveforms_that_come_without_a_file():
    check_waveform(np.zeros(10, np.float32), 16_000, "cut 1")
    with pytest.raises(AudioError, match="cut 2: the clip has no samples"):
        check_waveform(np.zeros(0, np.float32), 16_000, "cut 2")
