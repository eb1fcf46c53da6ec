"""Audio, manifests and disks that are not as they should be."""

import gzip
import json
import logging

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from lhotse.utils import fastcopy

from nemo_desta.attributes.run import run_attributes
from nemo_desta.errors import ConfigError, SelfGenError
from tests.attributes.signals import phrases, write_corpus, write_cut

SMALL = {"min_values": 10, "batch_size": 4, "progress": False}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def cuts_in(folder):
    return {c.id: c for c in CutSet.from_file(folder / "attributes_cuts.jsonl.gz")}


def broken_corpus(folder):
    """20 clips: c3 is no audio, c4 is missing, c5 NaN, c6 outside the root, c7 a command, c8 cut short."""
    cuts = [write_cut(folder, f"c{i}", phrases(100 + i), text="Hi.") for i in range(20)]
    (folder / "c3.wav").write_bytes(b"no audio at all")
    (folder / "c4.wav").unlink()
    soundfile.write(folder / "c5.wav", np.full(57600, np.nan, np.float32), 16000, subtype="FLOAT")
    cuts[6].recording.sources[0].source = "../c0.wav"
    soundfile.write(folder.parent / "c0.wav", phrases(100), 16000)
    cuts[7].recording.sources[0] = fastcopy(cuts[7].recording.sources[0], type="command", source="touch never")
    soundfile.write(folder / "c8.wav", phrases(100)[:8000], 16000)
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl")
    return folder / "cuts.jsonl"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:audioread")  # what Lhotse tries last
def test_unreadable_audio_is_counted_named_and_kept_and_tried_again(tmp_path, caplog):
    manifest = broken_corpus(tmp_path / "corpus")
    with caplog.at_level(logging.WARNING):
        summary = run_attributes(manifest, tmp_path / "out", **SMALL, max_failed=0.5)
    assert (summary.ok, summary.failed) == (14, 6)
    bad = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").open()]
    assert [row["id"] for row in bad] == [row["cut"]["id"] for row in bad] == [f"c{i}" for i in range(3, 9)]
    assert bad[0]["cut"]["supervisions"][0].keys() == {"id", "recording_id", "start", "duration", "channel", "text"}
    for row, reason in zip(
        bad, ("cannot be read", "no audio file", "NaN", "outside", "not a file", "cannot be read"), strict=True
    ):
        assert reason in row["reason"] and row["reason"] in caplog.text
    soundfile.write(tmp_path / "corpus" / "c4.wav", phrases(104), 16000)
    again = run_attributes(manifest, tmp_path / "out", **SMALL, max_failed=0.5)
    assert (again.ok, again.failed, again.new) == (15, 5, 6)
    assert "c4" in cuts_in(tmp_path / "out")


def test_too_many_failures_stop_the_run_and_keep_what_was_measured(tmp_path):
    manifest = broken_corpus(tmp_path / "corpus")
    with pytest.raises(SelfGenError, match=r"2 of \d+ cuts failed, more than max_failed=0.05.*'c4'.*audio_root"):
        run_attributes(manifest, tmp_path / "out", **{**SMALL, "batch_size": 5})
    assert run_attributes(manifest, tmp_path / "out", **SMALL, max_failed=1.0).new < 20


def test_a_manifest_that_changed_or_another_one_is_refused(tmp_path, corpus):
    copy = corpus.with_name("copy.jsonl.gz")
    copy.write_bytes(corpus.read_bytes())
    run_attributes(copy, tmp_path, **SMALL)
    text = gzip.decompress(copy.read_bytes()).decode().replace("Hi there.", "Bye there.")
    copy.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(SelfGenError, match="'male00'.*changed since it was measured"):
        run_attributes(copy, tmp_path, **SMALL)
    CutSet.from_cuts(list(CutSet.from_file(corpus))[:5]).to_file(copy)
    with pytest.raises(SelfGenError, match=r"input.cuts: 26 -> 5"):
        run_attributes(copy, tmp_path, **SMALL)


def test_input_that_cannot_be_is_refused_at_once(tmp_path, corpus):
    with pytest.raises(ConfigError, match="folder"):
        run_attributes(tmp_path, tmp_path / "out")
    same = corpus.with_name("in_cuts.jsonl.gz")
    same.write_bytes(corpus.read_bytes())
    with pytest.raises(ConfigError, match="input and output"):
        run_attributes(same, same.parent, name="in")
    with pytest.raises(ConfigError, match="thresholds=nowhere"):
        run_attributes(corpus, tmp_path / "out", thresholds="nowhere")
    with pytest.raises(ConfigError, match="asf"):
        run_attributes(corpus, tmp_path / "out", labellers=["asf"])
    assert not (tmp_path / "out").exists()


def test_a_disk_that_refuses_leaves_no_half_a_manifest(corpus, tmp_path, monkeypatch):
    from nemo_desta.attributes import writing

    def full(value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_line", full)
    with pytest.raises(SelfGenError, match="No space left"):
        run_attributes(corpus, tmp_path, **SMALL)
    assert not list(tmp_path.glob("*cuts*")) and not list(tmp_path.glob(".*tmp"))
    monkeypatch.undo()
    assert run_attributes(corpus, tmp_path, **SMALL).new == 0
