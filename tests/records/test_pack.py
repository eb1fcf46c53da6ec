"""Packing: the three forms hold the same, are read back before they count, and survive interruption."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from nemo_desta.configs import load_config
from nemo_desta.data.dataset import DeSTADataset
from nemo_desta.data.source import read_desta
from nemo_desta.errors import ConfigError, RecordError, SelfGenError
from nemo_desta.record import Record, read_records, write_records
from nemo_desta.records import pack
from nemo_desta.records.pack import PackConfig, pack_records
from nemo_desta.rendering import Renderer
from tests.records.corpus import record, tone, write_corpus
from tests.records.interruption import STOPS, Stop, contents, stop_in

FORMATS = ["jsonl", "tar", "shar"]
PARITY = Path(__file__).parents[1] / "data" / "parity"


def config(folder: Path, out: Path, form: str = "tar", **more) -> PackConfig:
    more = {"shard_size": 5, "workers": 2, "progress": False, **more}
    return PackConfig(records=str(folder / "train.jsonl"), output_dir=str(out), format=form, **more)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


def conversations(entry: dict):
    return list(read_desta({**entry, "force_finite": True})[0])


def batches(entry: dict, size: int = 4) -> list[dict]:
    renderer = Renderer(AutoTokenizer.from_pretrained(PARITY / "llm" / "tiny"), num_queries=4)
    found, dataset = conversations(entry), DeSTADataset(renderer, pad_id=0, max_bad_share=0)
    return [dataset[found[i : i + size]] for i in range(0, len(found), size)]


def heard(batch: dict) -> list[list[float]]:
    """The samples at each place of the batch."""
    clips = zip(batch["audio_signal"], batch["audio_len"], strict=True)
    samples = [signal[:length].tolist() for signal, length in clips]
    return [samples[i] for i in batch["audio_index"]]


@pytest.mark.parametrize("size", [5, 6])
def test_batches_of_all_forms_equal_those_of_the_source(corpus, tmp_path, size):
    source = batches({"manifest_filepath": str(corpus / "train.jsonl")})
    assert len(source) == 6
    for form in FORMATS:
        packed = batches(pack_records(config(corpus, tmp_path / form, form, shard_size=size)).input_cfg)
        for a, b in zip(source, packed, strict=True):
            assert a.keys() == b.keys() and a["ids"] == b["ids"] and heard(a) == heard(b)
            same = {k for k in a if torch.is_tensor(a[k]) and torch.equal(a[k], b[k])}
            # a clip that two shards share is read from each of them
            assert same >= a.keys() - {"ids"} - ({"audio_signal", "audio_len", "audio_index"} if size % 2 else set())


@pytest.mark.parametrize("form", FORMATS)
def test_flac_differs_by_its_rounding_only(corpus, tmp_path, form):
    source = conversations({"manifest_filepath": str(corpus / "train.jsonl")})
    packed = conversations(pack_records(config(corpus, tmp_path, form, audio="flac")).input_cfg)
    for a, b in zip(source, packed, strict=True):
        np.testing.assert_allclose(a.clips[0].load(), b.clips[0].load(), atol=1 / 32767)


def test_links_take_no_space(corpus, tmp_path):
    pack_records(config(corpus, tmp_path / "out", "jsonl", audio="link"))
    assert (tmp_path / "out" / "clips" / "0.wav").samefile(corpus / "clips" / "0.wav")


def test_what_is_written_about_a_package(corpus, tmp_path):
    summary = pack_records(config(corpus, tmp_path, "tar"))
    written = json.loads((tmp_path / "pack.json").read_text())
    assert written.pop("input_cfg") == {"type": "desta", "tarred_filepaths": "tar/shard_{000000..000004}.tar"}
    assert written == {k: v for k, v in dataclasses.asdict(summary).items() if k != "input_cfg"}
    assert (summary.total, summary.packed, summary.failed, summary.shards) == (23, 23, 0, 5)
    assert summary.hours == pytest.approx(sum(len(c.load()) for c in stored(summary)) / 16000 / 3600, abs=1e-4)
    assert "tarred_filepaths: " in str(summary) and "shard_{000000..000004}.tar" in str(summary)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "manifest.json", "pack.json", "tar"]


def stored(summary):
    return {clip for c in conversations(summary.input_cfg) for clip in c.clips}


def test_a_finished_package_is_left_alone(corpus, tmp_path):
    first = pack_records(config(corpus, tmp_path))
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tar")}
    assert pack_records(config(corpus, tmp_path)) == first
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tar")}


def test_other_settings_or_records_on_an_old_package_are_refused(corpus, tmp_path):
    pack_records(config(corpus, tmp_path / "out"))
    with pytest.raises(SelfGenError, match="shard_size: 5 -> 6"):
        pack_records(config(corpus, tmp_path / "out", shard_size=6))
    shutil.copytree(corpus, tmp_path / "other")
    write_records(tmp_path / "other" / "train.jsonl", [record("new", ["clips/0.wav"])])
    with pytest.raises(SelfGenError, match="source:"):
        pack_records(config(tmp_path / "other", tmp_path / "out"))


def test_a_package_can_be_moved(corpus, tmp_path):
    pack_records(config(corpus, tmp_path / "here", "shar"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert len(conversations(pack_records(config(corpus, tmp_path / "there", "shar")).input_cfg)) == 23


def test_settings_can_be_mended_as_long_as_nothing_is_packed(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="cannot be packed"):
        pack_records(config(corpus, tmp_path / "out", audio_root=str(tmp_path / "empty")))
    assert pack_records(config(corpus, tmp_path / "out", "shar", audio_root=str(corpus))).packed == 23


def test_a_folder_of_self_generation_is_refused_and_left_alone(corpus, tmp_path):
    (tmp_path / "manifest.json").write_text('{"llm": "x"}')
    for _ in range(2):
        with pytest.raises(ConfigError, match="holds other files"):
            pack_records(config(corpus, tmp_path))
    assert (tmp_path / "manifest.json").read_text() == '{"llm": "x"}'


def test_a_folder_of_other_files_is_refused(corpus, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds other files"):
        pack_records(config(corpus, tmp_path))
    with pytest.raises(ConfigError, match="holds other files"):
        pack_records(config(corpus, corpus))


@pytest.fixture
def damaged(corpus, tmp_path):
    """The corpus with one clip gone, one broken, one line that is no JSON and one path that leaves the root."""
    folder = tmp_path / "damaged"
    shutil.copytree(corpus, folder)
    (folder / "clips" / "0.wav").unlink()
    (folder / "clips" / "4.wav").write_bytes(b"RIFFxxxx")
    lines = (folder / "train.jsonl").read_bytes().splitlines()
    climbing = json.dumps(record("evil", ["../train.jsonl"]).to_dict()).encode()
    (folder / "train.jsonl").write_bytes(b"\n".join([*lines[:7], b"{oops", climbing, b"", *lines[7:]]))
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_what_cannot_be_packed_is_counted_and_told(damaged, tmp_path, form):
    summary = pack_records(config(damaged, tmp_path / "out", form, max_failed=0.3))
    assert (summary.total, summary.packed, summary.failed) == (25, 19, 6)
    rows = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert [r["line"] for r in rows] == [1, 2, 8, 9, 12, 13]
    reasons = [r["reason"] for r in rows]
    assert (
        "no such audio file" in reasons[0] and "not valid JSON" in reasons[2] and "leaves the data root" in reasons[3]
    )
    assert "cannot be decoded" in reasons[4] and rows[2]["text"] == "{oops" and rows[0]["record"]["id"] == "r0"
    ids = [c.id for c in conversations(summary.input_cfg)]
    assert ids == [f"r{i}" for i in range(23) if i not in {0, 1, 8, 9}]


def test_too_many_failures_stop_packing_and_mended_ones_go_on(damaged, corpus, tmp_path):
    with pytest.raises(RecordError, match=r"1 of 25 .*max_failed=0 .*no such audio file"):
        pack_records(config(damaged, tmp_path / "out", max_failed=0.0))
    shutil.rmtree(damaged / "clips")
    shutil.copytree(corpus / "clips", damaged / "clips")
    summary = pack_records(config(damaged, tmp_path / "out", max_failed=0.1))
    assert (summary.packed, summary.failed) == (23, 2)


def test_nothing_packed_is_an_error(tmp_path):
    write_records(tmp_path / "train.jsonl", [record("a", ["nowhere.wav"])])
    with pytest.raises(RecordError, match="no record could be packed"):
        pack_records(config(tmp_path, tmp_path / "out", max_failed=1.0))


def test_several_clips_and_none(tmp_path):
    for n in range(3):
        tone(tmp_path / f"{n}.wav", n)
    records = [record("three", ["0.wav", "1.wav", "0.wav"]), record("none", []), record("one", ["2.wav"])]
    write_records(tmp_path / "train.jsonl", records)
    for form in ("jsonl", "tar"):
        found = conversations(pack_records(config(tmp_path, tmp_path / form, form)).input_cfg)
        assert [c.record for c in found] == records and len(found[0].clips) == 3
    with pytest.raises(ConfigError, match=r"2 records .* three \(3 clips\), none \(0 clips\).*format=tar"):
        pack_records(config(tmp_path, tmp_path / "shar", "shar"))


def test_names_that_the_form_needs_for_itself(tmp_path):
    for name in ("a.json", "pack.json", "good.wav"):
        tone(tmp_path / name)
    write_records(tmp_path / "train.jsonl", [record(n, [n]) for n in ("a.json", "pack.json", "good.wav")])
    tar = pack_records(config(tmp_path, tmp_path / "tar", "tar", max_failed=1.0))
    assert [c.id for c in conversations(tar.input_cfg)] == ["good.wav"]
    plain = pack_records(config(tmp_path, tmp_path / "jsonl", "jsonl", max_failed=1.0))
    assert [c.id for c in conversations(plain.input_cfg)] == ["a.json", "good.wav"]


def test_several_files_patterns_and_repeated_ids(corpus, tmp_path):
    for n in range(2):
        (tmp_path / f"part.{n}.jsonl").write_bytes((corpus / "train.jsonl").read_bytes())
    settings_ = {**dataclasses.asdict(config(corpus, tmp_path / "out")), "audio_root": str(corpus)}
    summary = pack_records(PackConfig(**{**settings_, "records": str(tmp_path / "part.*.jsonl")}))
    assert (summary.packed, summary.repeated_ids) == (46, 23) and "23 records have an id" in str(summary)
    with pytest.raises(RecordError, match="named twice"):
        pack_records(PackConfig(**{**settings_, "records": [str(tmp_path / "part.0.jsonl")] * 2}))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"format": "zip"}, "jsonl, tar, shar"),
        ({"audio": "link"}, "copy, flac"),
        ({"shard_size": 0, "workers": 0, "max_failed": 2}, "shard_size=0.*workers=0.*max_failed=2"),
        ({"audio_root": "/nowhere"}, "no such folder"),
    ],
)
def test_impossible_settings_are_refused(corpus, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        pack_records(PackConfig(str(corpus / "train.jsonl"), str(tmp_path / "out"), **more))


def test_missing_compressed_and_empty_inputs_are_named(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "a.jsonl").write_bytes(b"\x1f\x8bxx")
    for name, message in [
        ("nowhere.jsonl", "no such file"),
        ("a.jsonl", "compressed"),
        ("empty.jsonl", "no record in it"),
    ]:
        with pytest.raises(RecordError, match=message):
            pack_records(PackConfig(str(tmp_path / name), str(tmp_path / "out"), progress=False))


def test_a_disk_that_changes_bytes_is_noticed(corpus, tmp_path, monkeypatch):
    end = pack.TarPacker.end

    def flip(self):
        end(self)
        data = bytearray(self._temporary.read_bytes())
        at = data.find(b"data", data.find(b"WAVE")) + 20
        data[at] ^= 1
        self._temporary.write_bytes(data)

    monkeypatch.setattr(pack.TarPacker, "end", flip)
    with pytest.raises(RecordError, match="does not read back"):
        pack_records(config(corpus, tmp_path))
    assert not (tmp_path / "pack.json").exists() and not (tmp_path / "tar").exists()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "change", [lambda found: found[1:], lambda found: found[::-1], lambda found: [*found, found[0]]]
)
def test_records_that_read_back_otherwise_are_noticed(corpus, tmp_path, monkeypatch, form, change):
    packer = {"jsonl": pack.JsonlPacker, "tar": pack.TarPacker, "shar": pack.SharPacker}[form]
    read_back = packer.read_back
    monkeypatch.setattr(packer, "read_back", lambda self: iter(change(list(read_back(self)))))
    with pytest.raises(RecordError, match="of the shard reads back as"):
        pack_records(config(corpus, tmp_path, form))
    assert not (tmp_path / "pack.json").exists()


def test_a_lost_shard_is_noticed_in_the_end(corpus, tmp_path, monkeypatch):
    check = pack._Packing._check_whole

    def lose(self, state):
        shutil.copy(tmp_path / "tar" / "shard_000001.tar", tmp_path / "tar" / "shard_000002.tar")
        check(self, state)

    monkeypatch.setattr(pack._Packing, "_check_whole", lose)
    with pytest.raises(RecordError, match=r"lacks .*train\.jsonl:11"):
        pack_records(config(corpus, tmp_path))


@pytest.mark.parametrize("form", FORMATS)
def test_stopped_anywhere_and_started_again_gives_the_same_files(damaged, tmp_path, monkeypatch, form):
    whole = tmp_path / "whole"
    expected = pack_records(config(damaged, whole, form, max_failed=0.5))
    for stop_at in STOPS:
        out = tmp_path / f"out{stop_at}"
        with monkeypatch.context() as patch:
            stop_in(patch, stop_at)
            try:
                pack_records(config(damaged, out, form, max_failed=0.5))
                break
            except Stop:
                pass
        again = pack_records(config(damaged, out, form, max_failed=0.5))
        for key in ("packed", "failed", "clips", "shards", "total", "hours"):
            assert getattr(again, key) == getattr(expected, key), (stop_at, key)
        assert contents(out) == contents(whole), stop_at
        shutil.rmtree(out)
    assert stop_at > 10


def test_killed_processes_leave_nothing_behind_that_disturbs(corpus, tmp_path):
    many = tmp_path / "many"
    shutil.copytree(corpus / "clips", many / "clips")
    records = list(read_records(corpus / "train.jsonl"))
    write_records(many / "train.jsonl", (dataclasses.replace(r, id=f"{r.id}-{n}") for n in range(40) for r in records))
    arguments = [f"records={many}/train.jsonl", f"output_dir={tmp_path}/out", "shard_size=20", "progress=false"]
    code = (
        "import sys; from nemo_desta.configs import load_config; from nemo_desta.records.pack import run, SCHEMA; "
        "run(load_config('pack', sys.argv[1:], schema=SCHEMA))"
    )
    kills = 0
    while not (tmp_path / "out" / "pack.json").exists() and kills < 8:
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 30
        progress = tmp_path / "out" / ".work" / "progress.json"
        before = progress.read_bytes() if progress.exists() else b""
        while process.poll() is None and time.monotonic() < until:
            if progress.exists() and progress.read_bytes() != before:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            time.sleep(0.002)
    summary = pack_records(config(many, tmp_path / "out", shard_size=20))
    assert summary.packed == 40 * 23 and kills >= 2
    assert [c.id for c in conversations(summary.input_cfg)] == [r.id for r in read_records(many / "train.jsonl")]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12).filter(
        lambda s: s not in {".", ".."} and len(s.encode()) < 200
    ),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT.filter(bool), NAMES, TEXT, TEXT), min_size=1, max_size=6), size=st.integers(1, 4))
def test_any_record_survives_any_form(tmp_path_factory, rows, size):
    folder = tmp_path_factory.mktemp("any")
    records: list[Record] = []
    for n, (row_id, name, response, seed) in enumerate(rows):
        try:
            tone(folder / "audio" / name, n, 0.02)
        except (OSError, soundfile.SoundFileError):  # a file where another name has a folder
            continue
        records.append(record(row_id, [name], response, seed_description=seed, provenance={"x": seed}))
    write_records(folder / "train.jsonl", records)
    for form in FORMATS if records else []:
        packing = config(folder, folder / form, form, audio_root=str(folder / "audio"), max_failed=1.0, shard_size=size)
        found = [c.record for c in conversations(pack_records(packing).input_cfg)]
        failed = folder / form / "failed.jsonl"
        lost = [json.loads(line)["record"] for line in failed.open(encoding="utf-8")] if failed.exists() else []
        assert sorted([r.to_dict() for r in found] + lost, key=str) == sorted([r.to_dict() for r in records], key=str)
        assert all(r["messages"][0]["audios"][0]["audio"].endswith(".json") or form != "tar" for r in lost)


def test_the_shipped_settings_are_those_of_the_code():
    cfg = load_config("pack", ["records=a", "output_dir=b"], schema=pack.SCHEMA)
    assert dict(cfg) == dataclasses.asdict(PackConfig("a", "b"))
