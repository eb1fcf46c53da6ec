import json
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from lhotse import CutSet, RecordingSet, SupervisionSet
from lhotse.serialization import deserialize_item

from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.record import read_records
from nemo_desta.selfgen import manifests, run_selfgen
from nemo_desta.selfgen.backends import Generation
from nemo_desta.selfgen.plan import CutSource
from tests.selfgen.corpus import cut, recording, supervision, write_corpus
from tests.selfgen.fake import FakeBackend

OPTIONS = {"prompts_per_cut": 2, "batch_size": 4, "progress": False}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


def test_every_row_is_ok_filtered_or_failed(tmp_path):
    cuts = write_corpus(tmp_path / "data", 30)
    (tmp_path / "data" / "a7.wav").unlink()
    summary = run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), dataset="toy", **OPTIONS)
    assert summary.ok + summary.filtered + summary.failed == summary.total == 60
    assert summary.failed == 2 and summary.filtered > 0
    assert {"filtered: betrays_text", "filtered: length", "failed"} == set(summary.reasons)
    records = list(read_records(tmp_path / "out" / "records.jsonl"))
    assert len({r.id for r in records}) == len(records) == summary.ok
    order = [(int(r.provenance["cut"][3:]), r.provenance["draw"]) for r in records]
    assert order == sorted(order), "records stand in the order of the input"
    speech = next(r for r in records if r.provenance["domain"] == "speech")
    assert speech.audios[0].audio == f"a{speech.provenance['cut'][3:]}.wav" and speech.audios[0].text.startswith(
        "Sentence"
    )
    assert speech.messages[-1].content == f"<start_audio><|AUDIO|><end_audio>\n\n{speech.prompt}"
    assert speech.provenance.keys() >= {
        "backbone",
        "backbone_revision",
        "sampling",
        "pool",
        "system_prompt_id",
        "recipe",
        "package_version",
        "finish_reason",
    }
    failed = [json.loads(line) for line in (tmp_path / "out" / "failed" / "records.jsonl").read_text().splitlines()]
    assert all("a7.wav" in f["reason"] for f in failed)


def test_batch_size_changes_nothing(tmp_path):
    cuts = write_corpus(tmp_path / "data", 20)
    for size in (1, 3, 32):
        run_selfgen(cuts, tmp_path / str(size), backend=FakeBackend(), batch_size=size, progress=False)
    assert contents(tmp_path / "1") == contents(tmp_path / "3") == contents(tmp_path / "32")


def test_a_finished_directory_is_left_alone(tmp_path):
    cuts = write_corpus(tmp_path / "data", 5)
    first = run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)
    backend = FakeBackend()
    again = run_selfgen(cuts, tmp_path / "out", backend=backend, **OPTIONS)
    assert backend.requests == [] and again.ok == first.ok and again.new_rows == 0


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"temperature": 1.0}, "sampling.temperature: 0.05 -> 1.0"),
        ({"pools": ["speech"]}, "pools"),
    ],
)
def test_another_configuration_is_refused(tmp_path, change, shown):
    cuts = write_corpus(tmp_path / "data", 5)
    run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)
    with pytest.raises(SelfGenError, match=shown):
        run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS, **change)


def test_changed_input_is_refused(tmp_path):
    cuts = write_corpus(tmp_path / "data", 5)
    run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)
    write_corpus(tmp_path / "data", 6)
    with pytest.raises(SelfGenError, match="input.cuts: 5 -> 6"):
        run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)


def test_repeated_file_stems_get_unique_ids_whatever_the_order(tmp_path):
    cuts = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").touch()
        cuts.append(cut([supervision("Hi.")], cut_id="a", path=f"{folder}/a.wav"))
        CutSet.from_cuts(cuts[-1:]).to_file(tmp_path / f"{folder}.jsonl")
    for order in ("xy", "yx"):
        run_selfgen(
            [tmp_path / f"{f}.jsonl" for f in order],
            tmp_path / order,
            backend=FakeBackend(),
            audio_root=str(tmp_path),
            prompts_per_cut=8,
            progress=False,
        )
    found = [{r.id: r.audios[0].audio for r in read_records(tmp_path / o / "records.jsonl")} for o in ("xy", "yx")]
    assert found[0] == found[1] and set(found[0].values()) == {"x/a.wav", "y/a.wav"}
    with pytest.raises(SelfGenError, match="more than once"):
        run_selfgen([tmp_path / "x.jsonl", tmp_path / "x.jsonl"], tmp_path / "twice", backend=FakeBackend())


def test_recordings_find_their_supervisions(tmp_path):
    spoken = supervision("Hello there.", gender="F")
    spoken.recording_id = "a0"
    (tmp_path / "a0.wav").touch()
    RecordingSet.from_recordings([recording("a0.wav")]).to_file(tmp_path / "toy_recordings_train.jsonl.gz")
    SupervisionSet.from_segments([spoken]).to_file(tmp_path / "toy_supervisions_train.jsonl.gz")
    run_selfgen(
        tmp_path / "toy_recordings_train.jsonl.gz",
        tmp_path / "out",
        backend=FakeBackend(),
        prompts_per_cut=9,
        progress=False,
    )
    described = {r.seed_description for r in read_records(tmp_path / "out" / "records.jsonl")}
    assert described == {"[00:00-00:03] Hello there. (Gender: Female, Duration: 3s)"}


def test_too_many_failures_stop_the_run_and_keep_what_is_finished(tmp_path):
    cuts = write_corpus(tmp_path / "data", 10)
    for i in range(3):
        (tmp_path / "data" / f"a{i}.wav").unlink()
    with pytest.raises(SelfGenError, match="6 of 20 rows failed"):
        run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)
    for i in range(3):
        (tmp_path / "data" / f"a{i}.wav").touch()
    backend = FakeBackend()
    summary = run_selfgen(cuts, tmp_path / "out", backend=backend, **OPTIONS)
    assert summary.failed == 0 and summary.new_rows == 6, "failed rows are tried again, finished ones are not"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none.jsonl", "no such file"),
        (lambda p: (p / "x.jsonl").write_text("{}\n") and p / "x.jsonl", "Lhotse manifest"),
        (lambda p: (p / "x.jsonl").write_text("") or p / "x.jsonl", "x.jsonl"),
    ],
)
def test_unusable_input_is_named(tmp_path, make, message):
    with pytest.raises(SelfGenError, match=message):
        run_selfgen(make(tmp_path), tmp_path / "out", backend=FakeBackend())


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda cut: cut.pop("recording"), "not one file"),
        (lambda cut: cut.pop("duration"), "cuts.jsonl:1: not readable by Lhotse"),
        (lambda cut: cut.update(duration=float("nan")), "duration nan"),
        (lambda cut: cut["supervisions"][0].update(start="soon"), "wrong type"),
        (lambda cut: cut["supervisions"][0].update(text=["a", "b"]), "wrong type"),
        (lambda cut: cut["supervisions"][0].update(custom=["x"]), "cuts.jsonl:1"),
        (lambda cut: cut["supervisions"][0]["custom"].update(noise={"a": 1}), "field 'noise'"),
    ],
)
def test_a_bad_cut_fails_its_own_rows_and_no_other(tmp_path, spoil, problem):
    cuts = write_corpus(tmp_path / "data", 60)
    lines = [json.loads(line) for line in cuts.read_text().splitlines()]
    spoil(lines[0])
    cuts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)
    failed = [json.loads(line) for line in (tmp_path / "out" / "failed" / "records.jsonl").read_text().splitlines()]
    assert summary.failed == len(failed) == 2 and summary.ok + summary.filtered == 118
    assert all(problem in row["reason"] for row in failed)


def test_fields_of_an_own_mapping_that_no_cut_has_are_told(tmp_path):
    cuts, mapping = write_corpus(tmp_path / "data", 6), tmp_path / "mine.yaml"
    mapping.write_text(
        "fields: [{field: noize, name: Noise}, {field: gender, name: Gender}, {field: instrument, name: I}]"
    )
    summary = run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), seed_config=str(mapping), **OPTIONS)
    assert summary.unused_fields == ["noize"]
    assert "fields of the seed mapping that no cut has: noize; did you mean 'noise'?" in str(summary)
    shipped = run_selfgen(cuts, tmp_path / "out2", backend=FakeBackend(), **OPTIONS)
    assert shipped.unused_fields == [], "the shipped mapping is made for many corpora"


@pytest.mark.parametrize("span", [(0, 14), (0, 3), (2, 9), (5, 6), (6, 14), (13, 14), (4, 4)])
def test_a_part_of_the_cuts_is_read_without_making_those_before(tmp_path, monkeypatch, span):
    lines = write_corpus(tmp_path, 14).read_text().splitlines(keepends=True)
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for path, part in zip(paths, (lines[:5], lines[5:6], ["\n", *lines[6:8], "\n", *lines[8:]]), strict=True):
        path.write_text("".join(part))
    source, made = CutSource(paths), []
    everything = [name for name, _ in source]
    monkeypatch.setattr(manifests, "deserialize_item", lambda data: made.append(data["id"]) or deserialize_item(data))
    assert [name for name, _ in source.part(*span)] == everything[slice(*span)]
    assert len(made) <= span[1] - span[0]


def test_a_line_that_is_no_json_is_named(tmp_path):
    cuts = write_corpus(tmp_path / "data", 3)
    cuts.write_text(cuts.read_text().replace('"id": "cut1"', '"id": cut1', 1))
    with pytest.raises(SelfGenError, match=r"cuts\.jsonl:2: not valid JSON"):
        run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), **OPTIONS)


def test_wrong_settings_are_named_together(tmp_path):
    with pytest.raises(ConfigError, match="batch_size.*temperature.*top_p"):
        run_selfgen("x", tmp_path, batch_size=0, temperature=-1, top_p=2)


def test_parts_of_recordings_and_files_outside_the_root_are_refused(tmp_path):
    (tmp_path / "a.wav").touch()
    part = cut([supervision("Hi.")], duration=3)
    part.duration = 1.0
    CutSet.from_cuts([part]).to_file(tmp_path / "part.jsonl")
    with pytest.raises(SelfGenError, match="part of its recording"):
        run_selfgen(tmp_path / "part.jsonl", tmp_path / "out", backend=FakeBackend(), progress=False)
    (tmp_path / "data").mkdir()
    CutSet.from_cuts([cut([supervision("Hi.")], path=str(tmp_path / "a.wav"))]).to_file(tmp_path / "data" / "c.jsonl")
    with pytest.raises(SelfGenError, match="outside the data root"):
        run_selfgen(tmp_path / "data" / "c.jsonl", tmp_path / "out2", backend=FakeBackend(), progress=False)


def test_errors_of_single_rows_are_counted_not_fatal(tmp_path):
    class Flaky(FakeBackend):
        def generate(self, requests, sampling):
            return [
                Generation(error="out of luck") if r.id == "cut4-0" else a
                for r, a in zip(requests, super().generate(requests, sampling), strict=True)
            ]

    summary = run_selfgen(write_corpus(tmp_path / "data", 30), tmp_path / "out", backend=Flaky(), **OPTIONS)
    assert summary.failed == 1


def _child(cuts: Path, output: Path, delay: float):
    """Another process; forked, because that is fast, and killed before it returns here."""
    options = {"prompts_per_cut": 2, "batch_size": 4, "sync_every": 4, "progress": False}
    child = get_context("fork").Process(
        target=run_selfgen, args=(cuts, output), kwargs={"backend": FakeBackend(delay), **options}
    )
    child.start()
    return child


def test_killed_again_and_again_it_gives_the_rows_of_an_uninterrupted_run(tmp_path):
    cuts = write_corpus(tmp_path / "data", 120)
    run_selfgen(
        cuts, tmp_path / "calm", backend=FakeBackend(), prompts_per_cut=2, batch_size=4, sync_every=4, progress=False
    )
    log = tmp_path / "killed" / ".work" / "records.log"
    for kill in range(12):
        before = log.stat().st_size if log.exists() else 0
        child = _child(cuts, tmp_path / "killed", 0.02)
        while child.is_alive() and (not log.exists() or log.stat().st_size < before + 1 + 1777 * kill):
            time.sleep(0.001)
        assert child.is_alive(), "it was to be killed while it works"
        child.kill()
        child.join()
        if kill == 2:
            with log.open("ab") as file:
                file.write(b'deadbeef {"id":"cut0-0","status":"o')  # a tail as a power cut would leave it
    last = _child(cuts, tmp_path / "killed", 0.0)
    last.join()
    assert last.exitcode == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    assert not log.exists()


def test_two_processes_on_one_directory_are_refused(tmp_path):
    cuts = write_corpus(tmp_path / "data", 200)
    child = _child(cuts, tmp_path / "out", 0.5)
    try:
        while child.is_alive() and not (tmp_path / "out" / ".work" / "records.log").exists():
            time.sleep(0.01)
        with pytest.raises(SelfGenError, match=f"process {child.pid} is writing"):
            run_selfgen(cuts, tmp_path / "out", backend=FakeBackend(), progress=False)
    finally:
        child.kill()
        child.join()
