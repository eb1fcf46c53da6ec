"""Parquet as the hub serves it: rows, sounds, and what a broken download says."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from nemo_desta.errors import EvaluationError
from nemo_desta.evaluation.benchmarks import get_benchmark
from nemo_desta.evaluation.benchmarks.parquet import find_parquet, read_rows, require_columns
from tests.evaluation.sakura_clone import ROWS


def sound(seed: int = 0, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(seed).standard_normal(1600) * 0.05, 16_000, format=kind)
    return buffer.getvalue()


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_sounds_go_to_files_named_by_row_and_own_format(tmp_path: Path) -> None:
    rows = [
        {"id": i, "audio": {"bytes": sound(i, kind), "path": "../../evil.wav"}}
        for i, kind in enumerate(("WAV", "FLAC", "OGG"))
    ]
    file = write(tmp_path / "x.parquet", rows)
    found = list(read_rows([file], ["audio"], tmp_path / "work", "set/test"))
    assert [r["audio"] for r in found] == [f"audio/set/test/00000{i}.{s}" for i, s in enumerate(("wav", "flac", "ogg"))]
    assert all((tmp_path / "work" / r["audio"]).read_bytes() == rows[r["id"]]["audio"]["bytes"] for r in found)
    assert not (tmp_path.parent / "evil.wav").exists()


def test_several_files_are_numbered_through_and_several_columns_kept_apart(tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{i}.parquet", [{"audio": {"bytes": sound(i)}, "audio2": {"bytes": sound(9)}}])
        for i in range(2)
    ]
    found = list(read_rows(files, ["audio", "audio2"], tmp_path, "s"))
    assert [(r["audio"], r["audio2"]) for r in found] == [
        ("audio/s/000000.wav", "audio/s/000000_audio2.wav"),
        ("audio/s/000001.wav", "audio/s/000001_audio2.wav"),
    ]


def test_what_lies_there_is_kept_and_half_a_file_is_not(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [{"audio": {"bytes": sound()}}])
    (row,) = read_rows([file], ["audio"], tmp_path, "s")
    target = tmp_path / row["audio"]
    stamp = target.stat().st_mtime_ns
    list(read_rows([file], ["audio"], tmp_path, "s"))
    assert target.stat().st_mtime_ns == stamp
    target.write_bytes(sound()[:50])
    list(read_rows([file], ["audio"], tmp_path, "s"))
    assert target.read_bytes() == sound()


def test_no_audio_in_a_row_is_none_and_a_bare_path_is_refused(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.parquet", [{"audio": {"bytes": None, "path": None}}, {"audio": {"bytes": sound(), "path": "a"}}]
    )
    assert next(read_rows([file], ["audio"], tmp_path, "s"))["audio"] is None
    bare = write(tmp_path / "y.parquet", [{"audio": "/etc/passwd"}])
    with pytest.raises(EvaluationError, match="names '/etc/passwd' only"):
        list(read_rows([bare], ["audio"], tmp_path, "s"))


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"no parquet", lambda b: b""])
def test_a_broken_download_is_told(tmp_path: Path, damage) -> None:
    file = write(tmp_path / "x.parquet", [{"audio": {"bytes": sound()}}])
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(EvaluationError, match=r"x\.parquet: is no whole parquet file"):
        list(read_rows([file], ["audio"], tmp_path, "s"))


def test_missing_columns_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    file = write(tmp_path / "x.parquet", [{"prompt": "p", "audio": None}])
    with pytest.raises(EvaluationError, match="lacks the columns reference; it has prompt, audio"):
        require_columns([file], ["prompt", "reference"])


def test_the_layouts_of_the_hub_are_found(tmp_path: Path) -> None:
    for name in (
        "AnimalQA/data/test-00000-of-00001.parquet",
        "data/GenderQA-00000-of-00001.parquet",
        "data/GenderQAX-0.parquet",
    ):
        write(tmp_path / name, [{"a": 1}])
    assert [p.name for p in find_parquet(tmp_path, "AnimalQA")] == ["test-00000-of-00001.parquet"]
    assert [p.name for p in find_parquet(tmp_path, "GenderQA")] == ["GenderQA-00000-of-00001.parquet"]
    assert find_parquet(tmp_path / "gone", "AnimalQA") == []


def test_sakura_from_the_hub_is_sakura_from_the_clone(tmp_path: Path) -> None:
    columns = ("file", "attribute_label", "single_instruction", "single_answer", "multi_instruction", "multi_answer")
    rows = [{**dict(zip(columns, r, strict=True)), "audio": {"bytes": sound(), "path": r[0]}} for r in ROWS["Animal"]]
    write(tmp_path / "AnimalQA" / "data" / "test-00000-of-00001.parquet", rows)
    data = get_benchmark("sakura").load(tmp_path, tmp_path / "work")
    assert [i.id for i in data.items][:2] == ["Animal/single/dog", "Animal/multi/dog"]
    assert (data.root / data.items[0].audios[0]).is_file()
