"""Clips from manifests: the truth is the corpus', whatever the seed mapping says of it."""

import numpy as np
import pytest
import soundfile
from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

from nemo_desta.evaluation.clips import conversation, read_clips

MAPPING = """
fields:
  - {field: noise, name: Background, values: {noisy: Loud}}
  - {field: language, name: Language, drop: [English]}
"""


@pytest.fixture
def clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    recording = Recording.from_file(tmp_path / "a.wav", recording_id="a")
    custom = {"noise": "noisy", "snr_db": 5, "domain": "speech"}
    said = SupervisionSegment(
        "s", "a", 0.0, 1.0, text="Good morning.", language="English", gender="male", custom=custom
    )
    RecordingSet.from_recordings([recording]).to_file(tmp_path / "x_recordings_test.jsonl.gz")
    SupervisionSet.from_segments([said]).to_file(tmp_path / "x_supervisions_test.jsonl.gz")
    (tmp_path / "seed.yaml").write_text(MAPPING)
    (clip,) = read_clips([tmp_path / "x_recordings_test.jsonl.gz"], str(tmp_path / "seed.yaml"), tmp_path)
    return clip


def test_truth_is_that_of_the_corpus(clip):
    assert clip.attributes == {
        "domain": "speech",
        "noise": "noisy",
        "snr_db": "5",
        "language": "English",
        "gender": "male",
    }
    assert (clip.audio, clip.transcript) == ("a.wav", "Good morning.")
    assert "Loud" in clip.seed_description and "English" not in clip.seed_description


def test_what_stands_in_the_place_of_the_audio(clip):
    def user(source):
        return conversation(clip, "Who?", "Be brief.", source)[-1]

    assert (
        user("audio").content == "<start_audio><|AUDIO|><end_audio>\n\nWho?"
        and user("audio").audios[0].text == "Good morning."
    )
    assert (
        user("transcript").content == "<start_audio>Good morning.<end_audio>\n\nWho?" and not user("transcript").audios
    )
    assert clip.seed_description in user("seed").content
    assert [m.role for m in conversation(clip, "Who?", "")] == ["user"]
