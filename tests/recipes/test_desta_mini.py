"""The recipe: same bytes however it is run, manifests in Lhotse's manner, folders that can be moved and resumed."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from lhotse import CutSet, RecordingSet, SupervisionSet, validate_recordings_and_supervisions

from nemo_desta.errors import ConfigError
from nemo_desta.recipes.commands import cli
from nemo_desta.recipes.desta_mini import load_desta_mini, prepare_desta_mini
from nemo_desta.recipes.plan import SPLITS, UNSEEN

_SIZES = {"train": 20, "validation": 6, "test": 6, UNSEEN: 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mini") / "corpus"
    prepare_desta_mini(path, _SIZES, seed=5)
    return path


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_processes_write_the_same_bytes_as_one(corpus, tmp_path):
    prepare_desta_mini(tmp_path / "other", _SIZES, seed=5, num_jobs=2)
    assert _digests(tmp_path / "other") == _digests(corpus)


def test_manifests_are_lhotse_s_own(corpus):
    for split, size in _SIZES.items():
        recordings = RecordingSet.from_file(corpus / f"desta-mini_recordings_{split}.jsonl.gz")
        supervisions = SupervisionSet.from_file(corpus / f"desta-mini_supervisions_{split}.jsonl.gz")
        recordings = recordings.with_path_prefix(corpus)
        validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
        assert len(recordings) == len(supervisions) == size
        for recording in recordings:
            assert recording.sampling_rate == 16000 and recording.num_channels == 1


def test_attributes_stand_where_lhotse_has_them(corpus):
    domains = set()
    for supervision in (s for parts in load_desta_mini(corpus).values() for s in parts["supervisions"]):
        custom = supervision.custom
        domains.add(custom["domain"])
        if custom["domain"] == "speech":
            assert supervision.text and supervision.speaker and supervision.gender in ("male", "female")
            assert custom["speaking_speed"] in ("slow", "normal", "fast") and custom["noise"] in ("clean", "noisy")
            assert ("snr_db" in custom) == (custom["noise"] == "noisy")
            assert ("accent" in custom) == (supervision.language == "English")
        else:
            assert supervision.text is supervision.gender is supervision.speaker is supervision.language is None
            assert "audio_category" in custom or {"instrument", "tempo", "tempo_bpm"} <= set(custom)
    assert domains == {"speech", "sound", "music"}


def test_cuts_carry_ids_audio_and_attributes(corpus):
    cuts = CutSet.from_file(corpus / "desta-mini_cuts_train.jsonl.gz").with_recording_path_prefix(corpus)
    assert len({cut.id for cut in cuts}) == _SIZES["train"]
    for cut in cuts:
        assert cut.id == cut.recording.id == cut.supervisions[0].recording_id
        assert cut.load_audio().shape == (1, cut.num_samples) and "domain" in cut.supervisions[0].custom


def test_a_moved_corpus_still_opens(corpus, tmp_path):
    corpus_copy = tmp_path / "moved"
    corpus_copy.symlink_to(corpus)
    for parts in load_desta_mini(corpus_copy).values():
        recording = next(iter(parts["recordings"]))
        assert recording.sources[0].source.startswith(str(corpus_copy))
        assert recording.load_audio().shape[1] == recording.num_samples


def test_a_stopped_run_is_completed_and_a_finished_one_only_read(corpus, tmp_path):
    folder = tmp_path / "stopped"
    prepare_desta_mini(folder, _SIZES, seed=5)
    for path in list((folder / "audio" / "train").iterdir())[:5] + list(folder.glob("*.jsonl.gz")):
        path.unlink()
    (folder / "audio" / "train" / "train-00000.123.part").write_bytes(b"half a clip")
    stamp = folder / "desta-mini.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "complete": False}))
    with pytest.raises(ConfigError, match="no finished"):
        load_desta_mini(folder)
    prepare_desta_mini(folder, _SIZES, seed=5)
    assert _digests(folder) == _digests(corpus)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    prepare_desta_mini(folder, _SIZES, seed=5)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_another_corpus_is_not_mixed_into_the_folder(corpus):
    before = _digests(corpus)
    with pytest.raises(ConfigError, match="other arguments"):
        prepare_desta_mini(corpus, _SIZES, seed=6)
    assert _digests(corpus) == before


def test_command_line(tmp_path):
    runner = CliRunner()
    command = ["prepare", "desta-mini", str(tmp_path / "c")]
    done = runner.invoke(cli, [*command, "--split-size", "train", "3"])
    assert done.exit_code == 0, done.output
    assert set(load_desta_mini(tmp_path / "c")) == {"train"} < set(SPLITS)
    refused = runner.invoke(cli, [*command, "--num-clips", "7"])
    assert refused.exit_code == 1 and "Error: num_clips=7" in refused.output
