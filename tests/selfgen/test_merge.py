"""Shards of a self-generation, and joining them."""

import json
from multiprocessing import get_context

import pytest

from nemo_desta.cli import main
from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.selfgen import merge, run_selfgen
from nemo_desta.selfgen.merge import merge_shards
from tests.selfgen.corpus import write_corpus
from tests.selfgen.fake import FakeBackend

OPTIONS = {"prompts_per_cut": 2, "batch_size": 4, "progress": False, "max_failed": 1.0}
CUTS = 23


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    path = write_corpus(folder, CUTS)
    (folder / "a7.wav").unlink()
    return path


@pytest.fixture(scope="module")
def whole(cuts, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    run_selfgen(cuts, out, backend=FakeBackend(), **OPTIONS)
    return out


def shard(cuts, out, number, of):
    return run_selfgen(cuts, out, backend=FakeBackend(), shard=f"{number}/{of}", **OPTIONS)


def rows(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merged_shards_equal_one_process(cuts, whole, tmp_path, order):
    totals = [shard(cuts, tmp_path, i, 3).total for i in order]
    assert sum(totals) == 2 * CUTS and max(totals) - min(totals) <= 2
    merged = merge_shards(tmp_path)
    assert rows(tmp_path) == rows(whole), "the same files, and none of the shards' left"
    single = json.loads((whole / "summary.json").read_text())
    assert (merged.total, merged.ok, merged.filtered, merged.failed, merged.reasons) == tuple(
        single[k] for k in ("total", "ok", "filtered", "failed", "reasons")
    )


def test_more_shards_than_cuts(cuts, whole, tmp_path):
    for i in range(CUTS + 2):
        shard(cuts, tmp_path, i, CUTS + 2)
    merge_shards(tmp_path)
    assert rows(tmp_path) == rows(whole)


def test_merging_twice_and_running_a_merged_shard_again_change_nothing(cuts, tmp_path):
    for i in range(2):
        shard(cuts, tmp_path, i, 2)
    first = merge_shards(tmp_path)
    before = rows(tmp_path)
    assert merge_shards(tmp_path) == first
    assert shard(cuts, tmp_path, 1, 2).new_rows == 0
    assert rows(tmp_path) == before


@pytest.mark.parametrize(
    ("step", "calls"), [("_join", 1), ("_join", 2), ("write_json", 1), ("_remove", 1), ("_remove", 2)]
)
def test_a_merge_that_was_stopped_is_finished_by_the_next(cuts, whole, tmp_path, monkeypatch, step, calls):
    for i in range(3):
        shard(cuts, tmp_path, i, 3)
    real, count = getattr(merge, step), []

    def stops(*args):
        count.append(1)
        if len(count) == calls:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(merge, step, stops)
        merge_shards(tmp_path)
    assert merge_shards(tmp_path).total == 2 * CUTS
    assert rows(tmp_path) == rows(whole)


def test_missing_shards_are_named(cuts, tmp_path):
    shard(cuts, tmp_path, 1, 3)
    with pytest.raises(SelfGenError, match="2 of 3 shards are not finished: 0/3, 2/3"):
        merge_shards(tmp_path)


def test_a_changed_shard_is_noticed_and_nothing_is_removed(cuts, tmp_path):
    for i in range(2):
        shard(cuts, tmp_path, i, 2)
    path = tmp_path / "records-00001-of-00002.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(SelfGenError, match="a file was changed"):
        merge_shards(tmp_path)
    assert path.is_file() and not (tmp_path / "summary.json").exists()


def test_another_number_of_shards_is_refused(cuts, whole, tmp_path):
    shard(cuts, tmp_path, 0, 2)
    with pytest.raises(SelfGenError, match="num_shards: 2 -> 3"):
        shard(cuts, tmp_path, 0, 3)
    with pytest.raises(SelfGenError, match="num_shards: 1 -> 2"):
        shard(cuts, whole, 0, 2)


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "0/0", "1/2/3"])
def test_impossible_shards_are_refused(cuts, tmp_path, text):
    with pytest.raises(ConfigError, match="shard="):
        run_selfgen(cuts, tmp_path, backend=FakeBackend(), shard=text, **OPTIONS)


def test_shards_run_side_by_side(cuts, whole, tmp_path):
    context = get_context("spawn")
    processes = [context.Process(target=shard, args=(cuts, tmp_path, i, 2)) for i in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [p.exitcode for p in processes] == [0, 0]
    merge_shards(tmp_path)
    assert rows(tmp_path) == rows(whole)


def test_the_console_merges(cuts, tmp_path, capsys):
    for i in range(2):
        shard(cuts, tmp_path, i, 2)
    with pytest.raises(SystemExit) as end:
        main(["selfgen-merge", str(tmp_path)])
    assert end.value.code == 0
    assert f"= {2 * CUTS} rows asked for" in capsys.readouterr().out
