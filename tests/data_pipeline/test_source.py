"""JSONL and tar shards give the same conversations; what is unsafe or malformed is refused by name."""

import io
import json
import tarfile

import numpy as np
import pytest

from nemo_desta.data.shards import expand_paths, read_shard, write_tar_shards
from nemo_desta.data.source import DeSTASource, read_desta
from nemo_desta.errors import AudioError, ConfigError, RecordError
from nemo_desta.record import read_records, write_records

from .conftest import record, tone


def make_tar(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w") as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            if kind == tarfile.SYMTYPE:
                info.size, info.linkname = 0, "/etc/hostname"
            out.addfile(info, io.BytesIO(data))
    return path


def line(audio="a.wav", number=0):
    return json.dumps(record(number, audio).to_dict()).encode()


def test_shards_give_back_records_and_samples(corpus):
    records = list(read_records(corpus / "train.jsonl"))
    shards = write_tar_shards(records, corpus, str(corpus / "shards" / "s_%03d.tar"), shard_size=5)
    assert [p.name for p in shards] == ["s_000.tar", "s_001.tar", "s_002.tar"]
    plain = list(DeSTASource([str(corpus / "train.jsonl")]))
    tarred = list(DeSTASource(expand_paths(str(corpus / "shards" / "s__OP_000..002_CL_.tar")), form="tar"))
    assert [c.record for c in tarred] == [c.record for c in plain] == records
    for a, b in zip(plain, tarred, strict=True):
        np.testing.assert_array_equal(a.clips[0].load(), b.clips[0].load())


def test_a_clip_is_stored_once_a_shard(corpus):
    records = list(read_records(corpus / "train.jsonl"))
    (shard,) = write_tar_shards(records, corpus, str(corpus / "s_%d.tar"), shard_size=100)
    with tarfile.open(shard) as tar:
        assert sum(n.endswith(".wav") for n in tar.getnames()) == 6
    clips = [c for _, clips in read_shard(shard) for c in clips]
    assert len(set(clips)) == 6 and clips[0] == clips[1]


def test_a_failed_write_leaves_no_shard(corpus):
    with pytest.raises(RecordError, match="r1.*missing.wav"):
        write_tar_shards([record(0, "clips/0.wav"), record(1, "missing.wav")], corpus, str(corpus / "s_%d.tar"))
    assert not list(corpus.glob("*.tar*")) and not list(corpus.glob(".s_*"))


@pytest.mark.parametrize("name", ["../a.wav", "/a.wav", "x/../../a.wav"])
def test_member_names_cannot_leave_the_shard(tmp_path, name):
    shard = make_tar(tmp_path / "s.tar", [(name, b"x"), ("0.json", line(name))])
    with pytest.raises(RecordError, match=r"s\.tar.*leaves the shard"):
        list(read_shard(shard))


def test_links_in_shards_are_refused(tmp_path):
    shard = make_tar(tmp_path / "s.tar", [("a.wav", b"")], kind=tarfile.SYMTYPE)
    with pytest.raises(RecordError, match="no plain file"):
        list(read_shard(shard))


def test_duplicate_members_are_refused(tmp_path):
    shard = make_tar(tmp_path / "s.tar", [("a.wav", b"x"), ("a.wav", b"y"), ("0.json", line())])
    with pytest.raises(RecordError, match="'a.wav' stands twice"):
        list(read_shard(shard))


def test_missing_member_is_named(tmp_path):
    with pytest.raises(RecordError, match="r0.*'b.wav'.*not in the shard"):
        list(read_shard(make_tar(tmp_path / "s.tar", [("a.wav", b"x"), ("0.json", line("b.wav"))])))


def test_malformed_json_in_a_shard_names_the_member(tmp_path):
    with pytest.raises(RecordError, match=r"s\.tar:7\.json"):
        list(read_shard(make_tar(tmp_path / "s.tar", [("7.json", b"{no")])))


def test_undecodable_member_is_named(tmp_path):
    ((_, (clip,)),) = read_shard(make_tar(tmp_path / "s.tar", [("a.wav", b"no audio"), ("0.json", line())]))
    with pytest.raises(AudioError, match=r"s\.tar:a\.wav: cannot be decoded"):
        clip.load()


@pytest.mark.parametrize("content", [b"", b"not a tar" * 200])
def test_what_is_no_tar_is_refused(tmp_path, content):
    path = tmp_path / "s.tar"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"s\.tar"):
        list(read_shard(path))


def test_malformed_json_names_file_and_line(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(line() + b"\n{oops\n")
    with pytest.raises(RecordError, match=r"t\.jsonl:2"):
        list(DeSTASource([str(tmp_path / "t.jsonl")]))


@pytest.mark.parametrize("audio", ["../secret.wav", "/etc/passwd"])
def test_clip_paths_cannot_leave_the_root(tmp_path, audio):
    (tmp_path / "t.jsonl").write_bytes(line(audio))
    with pytest.raises(RecordError, match=r"t\.jsonl.*r0.*leaves the data root"):
        list(DeSTASource([str(tmp_path / "t.jsonl")]))


def test_audio_root_is_honoured(tmp_path):
    tone(tmp_path / "audio" / "a.wav", 300)
    write_records(tmp_path / "lists" / "t.jsonl", [record(0, "a.wav")])
    (example,) = DeSTASource([str(tmp_path / "lists" / "t.jsonl")], audio_root=str(tmp_path / "audio"))
    assert len(example.clips[0].load()) == 3200


def test_exactly_one_file_key(tmp_path):
    for entry in ({}, {"manifest_filepath": "a", "tarred_filepaths": "b"}):
        with pytest.raises(ConfigError, match="not both"):
            read_desta(entry)


def test_empty_manifest_is_an_error(tmp_path):
    (tmp_path / "t.jsonl").touch()
    with pytest.raises(RecordError, match="no record"):
        list(DeSTASource([str(tmp_path / "t.jsonl")]))


def test_official_fields_are_enough(tmp_path):
    row = {
        "id": 7,
        "dataset": "d",
        "seed_description": "s",
        "prompt": "p",
        "messages": [{"role": "user", "content": "hi"}],
        "response": "r",
    }
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    (example,) = DeSTASource([str(tmp_path / "t.jsonl")])
    assert example.id == "7" and example.clips == ()


def test_shard_order_changes_with_the_pass_and_spares_the_list(corpus):
    records = list(read_records(corpus / "train.jsonl"))
    paths = [str(p) for p in write_tar_shards(records, corpus, str(corpus / "s_%02d.tar"), shard_size=1)]
    source = DeSTASource(paths, form="tar", shuffle=True, seed=3)
    first, second = ([c.id for c in source] for _ in range(2))
    assert first != second and sorted(first) == sorted(second) and source.paths == paths
