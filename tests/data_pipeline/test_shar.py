"""Lhotse Shar: the same conversations as JSONL, readable by Lhotse itself, and nothing tampered with gets through."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from nemo_desta.data.shar import RECORDS_FIELD, SharShard, read_shar, shar_shards
from nemo_desta.data.source import DeSTASource, read_desta
from nemo_desta.errors import RecordError
from nemo_desta.record import read_records

from .conftest import record
from .test_module import ALL, ids, module


def write(folder, records, root, number=0):
    folder.mkdir(parents=True, exist_ok=True)
    with SharShard(folder, number) as shard:
        for item in records:
            shard.add(item, lambda name: (root / name).read_bytes())
    return shard


@pytest.fixture
def shar(corpus):
    """The corpus in three shards of four records."""
    records = list(read_records(corpus / "train.jsonl"))
    for number in range(3):
        write(corpus / "shar", records[4 * number : 4 * number + 4], corpus, number)
    return corpus / "shar"


def test_shar_gives_back_records_and_samples(corpus, shar):
    plain = list(DeSTASource([str(corpus / "train.jsonl")]))
    found = list(DeSTASource(shar_shards([shar]), form="shar"))
    assert [c.record for c in found] == [c.record for c in plain]
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_array_equal(a.clips[0].load(), b.clips[0].load())


def test_records_about_one_clip_share_its_cut(shar):
    clips = [clips[0] for path in shar_shards([shar]) for _, clips in read_shar(path)]
    assert len(set(clips)) == 6 and clips[0] == clips[1]


def test_lhotse_reads_the_folder(corpus, shar):
    cuts = list(CutSet.from_shar(in_dir=shar))
    assert len(cuts) == 6 and all(len(c.custom[RECORDS_FIELD]) == 2 for c in cuts)
    for number, cut in enumerate(cuts):
        samples, _ = soundfile.read(corpus / "clips" / f"{number}.wav", dtype="float32")
        np.testing.assert_array_equal(cut.load_audio()[0], samples)


def test_stereo_keeps_its_channels(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (800, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", sound, 8000)
    shard = write(tmp_path / "shar", [record(0, "a.flac")], tmp_path)
    (cut,) = CutSet.from_shar(in_dir=tmp_path / "shar")
    assert cut.load_audio().shape == (2, 800)
    ((_, (clip,)),) = read_shar(shard.cuts)
    assert len(clip.load()) == 1600


@pytest.mark.parametrize("name", ["a b/ü ñ.wav", "x.json.wav", "noending", "odd.nodata", "a.w-v", ".wav"])
def test_any_clip_name_is_kept(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.zeros(160), 16000, format="WAV")
    shard = write(tmp_path / "shar", [record(0, name)], tmp_path)
    ((found, (clip,)),) = read_shar(shard.cuts)
    assert found.audios[0].audio == name and len(clip.load()) == 160
    assert len(list(CutSet.from_shar(in_dir=tmp_path / "shar"))) == 1


def test_records_without_one_clip_are_refused(tmp_path):
    with pytest.raises(RecordError, match="r0 has 0 clips.*tar"), SharShard(tmp_path, 0) as shard:
        shard.add(record(0, None), lambda name: b"")


def test_training_divides_the_shards_among_workers(renderer, shar):
    entry = {"type": "desta", "shar_path": str(shar)}
    cfg = {"input_cfg": [entry], "batch_size": 3, "num_workers": 2, "seed": 5, "force_finite": True, "shuffle": True}
    assert sorted(sum(ids(module(renderer, train_ds=cfg).train_dataloader()), [])) == sorted(ALL)


def test_training_streams_without_end(shar):
    cuts, streamed = read_desta({"shar_path": [str(shar)]})
    assert streamed and sum(1 for _, cut in zip(range(30), cuts, strict=False)) == 30


def retar(shar, change):
    """Rewrite the first recordings with `change(list of (name, data))`."""
    path = shar / "recording.000000.tar"
    with tarfile.open(path) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(path, "w") as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[2:], "clip of the cut '000000-000000' is not in"),
        (lambda m: [*m, m[0]], "stands twice"),
        (lambda m: [*m, ("000000-000000.mp3", b"x")], "has two clips"),
        (lambda m: [*m, ("000009-000000.wav", b"x")], "1 clips without a cut"),
        (lambda m: [*m, ("../evil.wav", b"x")], "leaves the shard"),
        (lambda m: [*m, ("/etc/evil.wav", b"x")], "leaves the shard"),
        (lambda m: [("000000-000000.nodata", b""), *m[1:]], "has no audio"),
    ],
)
def test_tampered_recordings_are_refused(shar, change, message):
    retar(shar, change)
    with pytest.raises(RecordError, match=message):
        list(read_shar(shar / "cuts.000000.jsonl.gz"))


def recut(shar, change):
    path = shar / "cuts.000000.jsonl.gz"
    cuts = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    path.write_bytes(gzip.compress("".join(json.dumps(c) + "\n" for c in change(cuts)).encode()))


def climbing(cuts):
    cuts[0]["custom"][RECORDS_FIELD][0]["messages"] = [{"role": "user", "content": "x"}]
    return cuts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[1:], "clips without a cut"),
        (lambda c: [*c, c[0]], "named by a cut before"),
        (lambda c: [{**c[0], "custom": None}, *c[1:]], "no cut with records"),
        (lambda c: [{**c[0], "custom": {RECORDS_FIELD: []}}, *c[1:]], "must be a list of records"),
        (lambda c: [{**c[0], "id": {}}, *c[1:]], "not in"),
        (climbing, "has 0 clips"),
        (lambda c: [[], *c], "no cut with records"),
    ],
)
def test_tampered_cuts_are_refused(shar, change, message):
    recut(shar, change)
    with pytest.raises(RecordError, match=message):
        list(read_shar(shar / "cuts.000000.jsonl.gz"))


@pytest.mark.parametrize("name", ["cuts.000000.jsonl.gz", "recording.000000.tar"])
def test_cut_off_files_are_refused_or_their_clips(shar, name):
    path = shar / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(RecordError, match="000000"):
        list(read_shar(shar / "cuts.000000.jsonl.gz"))


def test_incomplete_folders_are_named(shar, tmp_path):
    with pytest.raises(RecordError, match="no Lhotse Shar folder"):
        shar_shards([tmp_path / "nowhere"])
    (shar / "recording.000001.tar").unlink()
    with pytest.raises(RecordError, match=r"recording\.000001\.tar missing"):
        shar_shards([shar])
