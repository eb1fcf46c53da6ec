"""The import: released rows whose audio is at hand become records, all others are told, and it can be stopped anywhere."""

import dataclasses
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_desta.configs import load_config
from nemo_desta.data.source import DeSTASource
from nemo_desta.errors import ConfigError, RecordError, SelfGenError
from nemo_desta.record import read_records
from nemo_desta.records import aqa5m
from nemo_desta.records.aqa5m import ImportConfig, import_aqa5m
from nemo_desta.records.ids import IdHashes
from tests.memory import peak_memory
from tests.records.corpus import tone
from tests.records.interruption import STOPS, Stop, contents, stop_in

SYSTEM = (
    "Imagine you can **hear** the audio clips. The audio clips are wrapped between <start_audio> and <end_audio>.\n"
    "Focus on the audio clips and respond directly to the prompts."
)


def released(audio: str, dataset: str, prompt: str = "What is it?", text: str = " ") -> dict:
    """A row as the release has it: its fields in their order, the id being the path of the audio."""
    user = {"role": "user", "content": f"<start_audio><|AUDIO|><end_audio>\n\n{prompt}"}
    return {
        "id": audio,
        "dataset": dataset,
        "seed_description": "[00:00-00:05] (Audio category: door_wood_knock, Duration: 5.0)",
        "prompt": prompt,
        "response": "Somebody knocks at a wooden door.",
        "messages": [
            {"role": "system", "content": SYSTEM, "audios": None},
            {**user, "audios": [{"audio": audio, "text": text}]},
        ],
    }


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode() for r in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.fixture
def release(tmp_path):
    """Ten rows in two files about three corpora; ESC50 lies elsewhere, MELD as wav in place of mp4, GTZAN not at all."""
    audio = tmp_path / "corpora"
    for n in range(2):
        tone(audio / "esc-50-master" / "audio" / f"{n}.wav")
        tone(audio / "MELD" / "train" / f"dia{n}.wav")
    write(
        tmp_path / "released" / "audio.0.jsonl",
        [
            released("ESC50/audio/0.wav", "ESC50", "What is it?"),
            released("ESC50/audio/0.wav", "ESC50", "Where is it?"),
            released("ESC50/audio/1.wav", "ESC50", "¿Qué es?"),
            released("GTZAN/blues.00000.wav", "GTZAN"),
            released("GTZAN/blues.00001.wav", "GTZAN"),
        ],
    )
    write(
        tmp_path / "released" / "speech.0.jsonl",
        [
            released("MELD/train/dia0.mp4", "MELD", text="Take it."),
            released("MELD/train/dia1.wav", "MELD", text="我每个月打一次电话。"),
            released("ESC50/audio/0.wav", "ESC50", "Who is it?"),
            released("MELD/train/dia2.wav", "MELD"),
            released("../../etc/passwd", "MELD"),
        ],
    )
    return tmp_path


def config(release, **more) -> ImportConfig:
    more = {"path_map": {"ESC50": "esc-50-master"}, "workers": 2, "progress": False, **more}
    return ImportConfig(str(release / "released" / "*.jsonl"), str(release / "corpora"), str(release / "out"), **more)


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_row_is_found_missing_or_failed(release):
    summary = import_aqa5m(config(release))
    assert (summary.total, summary.found, summary.missing, summary.failed) == (10, 6, 4, 0)
    assert summary.corpora == {
        "ESC50": {"rows": 4, "found": 4, "missing": 0},
        "GTZAN": {"rows": 2, "found": 0, "missing": 2},
        "MELD": {"rows": 4, "found": 2, "missing": 2},
    }
    assert "GTZAN          2         0         2     100.0" in str(summary)
    assert json.loads((release / "out" / "import.json").read_text()) == dataclasses.asdict(summary)


def test_records_keep_what_the_release_says_and_find_their_audio(release):
    import_aqa5m(config(release))
    records = list(read_records(release / "out" / "records.jsonl"))
    first = released("ESC50/audio/0.wav", "ESC50")
    assert {k: getattr(records[0], k) for k in ("id", "dataset", "seed_description", "prompt", "response")} == {
        k: first[k] for k in ("id", "dataset", "seed_description", "prompt", "response")
    }
    assert [m.content for m in records[0].messages] == [m["content"] for m in first["messages"]]
    assert records[0].provenance == {
        "source": "DeSTA-AQA5M",
        "file": "audio.0.jsonl",
        "line": 1,
        "backbone": "meta-llama/Llama-3.1-8B-Instruct",
    }
    assert [r.audios[0].audio for r in records[2:5]] == [
        "esc-50-master/audio/1.wav",
        "MELD/train/dia0.wav",
        "MELD/train/dia1.wav",
    ]
    assert records[4].audios[0].text == "我每个月打一次电话。"
    examples = DeSTASource([str(release / "out" / "records.jsonl")], audio_root=str(release / "corpora"))
    assert all(len(c.clips[0].load()) == 1600 for c in examples)


def test_ids_are_kept_and_repeated_ones_numbered(release):
    summary = import_aqa5m(config(release))
    records = list(read_records(release / "out" / "records.jsonl"))
    assert [r.id for r in records if r.dataset == "ESC50"] == [
        "ESC50/audio/0.wav",
        "ESC50/audio/0.wav#2",
        "ESC50/audio/1.wav",
        "ESC50/audio/0.wav#3",
    ]
    assert records[1].provenance["released_id"] == "ESC50/audio/0.wav"
    assert summary.repeated_ids == 2 and "2 rows have an id that stands before" in str(summary)


def test_repeated_ids_can_be_refused(release):
    with pytest.raises(RecordError, match="2 rows have an id that stands before"):
        import_aqa5m(config(release, repeated_ids="refuse"))


def test_rows_without_audio_are_told_with_their_reason(release):
    import_aqa5m(config(release))
    missing = rows(release / "out" / "missing.jsonl")
    assert [(m["id"], m["dataset"], m["file"], m["line"]) for m in missing] == [
        ("GTZAN/blues.00000.wav", "GTZAN", "audio.0.jsonl", 4),
        ("GTZAN/blues.00001.wav", "GTZAN", "audio.0.jsonl", 5),
        ("MELD/train/dia2.wav", "MELD", "speech.0.jsonl", 4),
        ("../../etc/passwd", "MELD", "speech.0.jsonl", 5),
    ]
    assert missing[0]["reason"] == "no file GTZAN/blues.00000.wav" and "leaves the data root" in missing[3]["reason"]


def test_other_endings_are_counted_and_can_be_off(release):
    assert import_aqa5m(config(release)).other_ending == 1
    shutil.rmtree(release / "out")
    assert import_aqa5m(config(release, other_endings=[])).missing == 5


def test_empty_and_broken_audio(release):
    (release / "corpora" / "MELD" / "train" / "dia0.wav").write_bytes(b"")
    (release / "corpora" / "MELD" / "train" / "dia1.wav").write_bytes(b"no audio")
    assert import_aqa5m(config(release)).corpora["MELD"]["found"] == 1
    shutil.rmtree(release / "out")
    import_aqa5m(config(release, check="decode"))
    reasons = [m["reason"] for m in rows(release / "out" / "missing.jsonl") if m["dataset"] == "MELD"]
    assert "no file MELD/train/dia0.mp4" in reasons[0] and "cannot be decoded" in reasons[1]


def test_a_share_of_missing_rows_is_fatal_only_if_asked_for(release):
    with pytest.raises(RecordError, match=r"(?s)GTZAN.*4 of 10 rows are without audio, more than max_missing=0\.3"):
        import_aqa5m(config(release, max_missing=0.3))
    assert import_aqa5m(config(release, max_missing=0.4)).found == 6


def test_rows_that_are_no_records(release):
    path = release / "released" / "audio.0.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "x"}\n[1]\n\xff\xfe\n')
    with pytest.raises(RecordError, match=r"1 of 13 rows are no records.*audio\.0\.jsonl:6.*messages"):
        import_aqa5m(config(release))
    summary = import_aqa5m(config(release, max_failed=0.3))
    assert (summary.found, summary.missing, summary.failed) == (6, 4, 3)
    assert [r["line"] for r in rows(release / "out" / "failed.jsonl")] == [6, 7, 8]


def test_a_path_map_must_fit(release):
    with pytest.raises(ConfigError, match=r"'ESC-50' \(is 'ESC50' meant\?\).*there are ESC50, GTZAN, MELD"):
        import_aqa5m(config(release, path_map={"ESC-50": "x"}))
    assert import_aqa5m(config(release)).found == 6, "the mended map is taken"
    for folder in ("/etc", "../x"):
        with pytest.raises(ConfigError, match="below audio_root"):
            import_aqa5m(config(release, path_map={"ESC50": folder}))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"check": "listen"}, "exists and decode"),
        ({"repeated_ids": "drop"}, "number and refuse"),
        ({"max_missing": 2, "workers": 0}, "workers=0.*max_missing=2"),
        ({"other_endings": ["wav"]}, "written like .wav"),
    ],
)
def test_impossible_settings_are_refused(release, more, message):
    with pytest.raises(ConfigError, match=message):
        import_aqa5m(config(release, **more))


def test_a_finished_import_is_left_alone_and_another_refused(release):
    first = import_aqa5m(config(release))
    again = import_aqa5m(config(release))
    assert again == dataclasses.replace(first, new_rows=0, seconds=0.0)
    with pytest.raises(SelfGenError, match=r"path_map.ESC50: 'esc-50-master' -> \(absent\)"):
        import_aqa5m(config(release, path_map={}))


def test_stopped_anywhere_and_started_again_gives_the_same_files(release, monkeypatch):
    monkeypatch.setattr(aqa5m, "_BLOCK", 3)
    path = release / "released" / "speech.0.jsonl"
    path.write_bytes(path.read_bytes() + b"{oops\n")
    expected = import_aqa5m(config(release, max_failed=0.1))
    whole = contents(release / "out")
    for stop_at in STOPS:
        shutil.rmtree(release / "out")
        with monkeypatch.context() as patch:
            stop_in(patch, stop_at)
            try:
                import_aqa5m(config(release, max_failed=0.1))
                break
            except Stop:
                pass
        again = import_aqa5m(config(release, max_failed=0.1))
        assert dataclasses.replace(again, seconds=0, new_rows=0) == dataclasses.replace(expected, seconds=0, new_rows=0)
        assert contents(release / "out") == whole, stop_at
    assert stop_at > 20


def test_memory_does_not_grow_with_the_rows(release, monkeypatch):
    monkeypatch.setattr(aqa5m, "_BLOCK", 200)
    peaks = []
    for count in (500, 4500):
        shutil.rmtree(release / "released")
        write(release / "released" / "audio.0.jsonl", (released(f"GTZAN/{n}.wav", "GTZAN") for n in range(count)))
        peaks.append(peak_memory(lambda: import_aqa5m(config(release, path_map={}))))
        shutil.rmtree(release / "out")
    assert peaks[1] - peaks[0] < 4000 * 100, "a row takes more than 100 bytes of memory"


@given(st.lists(st.sampled_from("abcdefg") | st.text(max_size=3), max_size=30))
def test_occurrences_count_the_earlier_rows_with_the_same_id(ids):
    hashes = IdHashes()
    for row_id in ids:
        hashes.add(row_id)
    assert hashes.occurrences().tolist() == [ids[:i].count(row_id) for i, row_id in enumerate(ids)]
    assert hashes.repeated() == len(ids) - len(set(ids))


def test_the_shipped_settings_are_those_of_the_code():
    cfg = load_config("import_aqa5m", ["records=a", "audio_root=b", "output_dir=c"], schema=aqa5m.SCHEMA)
    assert dict(cfg) == dataclasses.asdict(ImportConfig("a", "b", "c"))
