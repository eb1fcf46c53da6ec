"""Clips reach the right places of the batch, and bad ones are counted, never replaced."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet

from nemo_desta.data.clip import Clip
from nemo_desta.data.conversation import DeSTAConversation, RenderingTokenizer
from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.data.shar import SharShard, shar_shards
from nemo_desta.data.shards import write_tar_shards
from nemo_desta.data.source import DeSTASource
from nemo_desta.errors import AudioError
from nemo_desta.record import AudioRef, Message, Record

from .conftest import record, tone


def conversation(number, path, tokenizer=None):
    out = DeSTAConversation(record(number, "x.wav" if path else None), (Clip(str(path)),) if path else ())
    return out.tokenize(tokenizer) if tokenizer else out


def test_clips_with_equal_stems_are_not_swapped(renderer, tmp_path):
    tone(tmp_path / "a" / "00001.wav", 200, 0.1)
    tone(tmp_path / "b" / "00001.wav", 900, 0.2)
    batch = DeSTADataset(renderer, 0)[
        CutSet([conversation(0, tmp_path / "b" / "00001.wav"), conversation(1, tmp_path / "a" / "00001.wav")])
    ]
    for row, folder in enumerate("ba"):
        expected = soundfile.read(tmp_path / folder / "00001.wav", dtype="float32")[0]
        clip = batch["audio_index"][batch["audio_position"][:, 0] == row].item()
        assert batch["audio_len"][clip] == len(expected)
        np.testing.assert_array_equal(batch["audio_signal"][clip, : len(expected)].numpy(), expected)


@pytest.mark.parametrize("form", ["tar", "shar"])
def test_clips_with_equal_names_in_other_shards_are_not_swapped(renderer, tmp_path, form):
    """In Shar the cuts of all shards of a folder that begins anew are called alike, too."""
    paths, expected = [], {}
    for number, folder in enumerate("ab"):
        tone(tmp_path / folder / "00001.wav", 200 + 700 * number, 0.1 + 0.1 * number)
        expected[f"r{number}"] = soundfile.read(tmp_path / folder / "00001.wav", dtype="float32")[0]
        if form == "tar":
            rows = [record(number, "00001.wav")]
            paths += map(str, write_tar_shards(rows, tmp_path / folder, str(tmp_path / f"{folder}_%d.tar")))
        else:
            (tmp_path / f"shar_{folder}").mkdir()
            with SharShard(tmp_path / f"shar_{folder}", 0) as shard:
                shard.add(record(number, "00001.wav"), lambda name, f=folder: (tmp_path / f / name).read_bytes())
            paths += shar_shards([tmp_path / f"shar_{folder}"])
    batch = DeSTADataset(renderer, 0)[CutSet(list(DeSTASource(paths, form=form))[::-1])]
    assert batch["ids"] == ["r1", "r0"]
    for row, name in enumerate(batch["ids"]):
        clip = batch["audio_index"][batch["audio_position"][:, 0] == row].item()
        np.testing.assert_array_equal(batch["audio_signal"][clip, : batch["audio_len"][clip]], expected[name])


def test_a_clip_of_many_conversations_is_loaded_once(renderer, tmp_path, monkeypatch):
    tone(tmp_path / "a.wav", 300)
    tone(tmp_path / "b.wav", 400)
    loads = []
    original = Clip.load
    monkeypatch.setattr(Clip, "load", lambda self, *a: loads.append(self.path) or original(self, *a))
    names = ["a", "b", "a", "a", "b"]
    batch = DeSTADataset(renderer, 0)[CutSet([conversation(i, tmp_path / f"{n}.wav") for i, n in enumerate(names)])]
    assert len(loads) == 2 and batch["audio_signal"].shape[0] == 2
    assert batch["audio_index"].tolist() == [0, 1, 0, 0, 1]


def test_batch_without_audio(renderer):
    batch = DeSTADataset(renderer, 0)[CutSet([conversation(0, None), conversation(1, None)])]
    assert batch["audio_signal"].shape[0] == 0 and batch["audio_position"].shape == (0, 2)
    assert batch["ids"] == ["r0", "r1"]


def test_several_clips_in_one_conversation_keep_their_order(renderer, tmp_path):
    for name, hertz in (("a", 200), ("b", 700)):
        tone(tmp_path / f"{name}.wav", hertz, 0.1 if name == "a" else 0.2)
    message = Message("user", "<|AUDIO|> or <|AUDIO|>, or <|AUDIO|>?", tuple(AudioRef(n, " ") for n in "bab"))
    clips = tuple(Clip(str(tmp_path / f"{n}.wav")) for n in "bab")
    batch = DeSTADataset(renderer, 0)[CutSet([DeSTAConversation(Record("r", (message,), "b"), clips)])]
    assert batch["audio_len"].tolist() == [3200, 1600]
    assert batch["audio_index"].tolist() == [0, 1, 0]
    assert batch["audio_position"][:, 1].diff().gt(0).all()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "nan", "too_long", "no_samples"])
def test_bad_audio_is_left_out_and_counted(renderer, tmp_path, kind):
    tone(tmp_path / "good.wav", 300)
    bad = tmp_path / "bad.wav"
    if kind == "empty":
        bad.touch()
    elif kind == "text":
        bad.write_text("not a recording")
    elif kind == "nan":
        soundfile.write(bad, np.full(1600, np.nan), 16_000, subtype="FLOAT")
    elif kind == "too_long":
        soundfile.write(bad, np.zeros(31 * 8000), 8000)
    elif kind == "no_samples":
        soundfile.write(bad, np.zeros(0), 16_000)
    dataset = DeSTADataset(renderer, 0)
    batch = dataset[CutSet([conversation(0, bad), conversation(1, tmp_path / "good.wav")])]
    assert batch["ids"] == ["r1"] and batch["input_ids"].shape[0] == 1
    assert dataset.tally.bad == ["r0"] and dataset.tally.seen == 2


def test_too_many_bad_records_stop_the_run_with_their_ids(renderer, tmp_path):
    dataset = DeSTADataset(renderer, 0, max_bad_share=0.02)
    for number in range(2):
        assert dataset[CutSet([conversation(number, tmp_path / "missing.wav")])]["ids"] == []
    with pytest.raises(AudioError, match=r"3 of 3 records.*r0, r1, r2.*missing\.wav.*max_bad_share"):
        dataset[CutSet([conversation(2, tmp_path / "missing.wav")])]


def test_zero_share_stops_at_the_first(renderer, tmp_path):
    with pytest.raises(AudioError, match="r0"):
        DeSTADataset(renderer, 0, max_bad_share=0.0)[CutSet([conversation(0, tmp_path / "missing.wav")])]


def test_silence_is_audio(renderer, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(1600), 16_000)
    dataset = DeSTADataset(renderer, 0)
    assert dataset[CutSet([conversation(0, tmp_path / "silence.wav")])]["ids"] == ["r0"] and not dataset.tally.bad


def test_lengths_are_those_of_the_batch(renderer, tmp_path):
    tone(tmp_path / "a.wav", 300)
    example = conversation(0, tmp_path / "a.wav", RenderingTokenizer(renderer))
    batch = DeSTADataset(renderer, 0)[CutSet([example])]
    assert example.total_length == batch["input_ids"].shape[1]
    assert example.output_length == batch["target_mask"].sum()
    assert example.input_length + example.output_length == example.total_length
    assert torch.equal(
        batch["target_mask"][0, example.input_length :], torch.ones(example.output_length, dtype=torch.bool)
    )
