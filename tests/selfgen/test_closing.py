"""The closing pass: nothing lost, nothing doubled, whenever it is stopped."""

import json
import os
import shutil
import signal
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml

from nemo_desta.errors import SelfGenError
from nemo_desta.paths import conf_dir
from nemo_desta.record import read_records
from nemo_desta.selfgen import run_selfgen
from nemo_desta.selfgen.closing import finish, staging
from nemo_desta.selfgen.config import load_yaml
from nemo_desta.selfgen.merge import merge_shards
from tests.selfgen.chatty import ChattyBackend
from tests.selfgen.corpus import write_corpus

ROWS = 120


def files(folder: Path) -> dict[str, bytes]:
    """What a user sees: everything but the lock, the work folder, and the time that it took."""
    found = {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".") and ".work" not in p.parts
    }
    summary = json.loads(found.pop("summary.json"))
    return {
        **found,
        "counts": {k: v for k, v in summary.items() if k not in ("seconds", "path", "new_rows", "new_tokens")},
    }


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Manifest and options; one prompt, so that there is something to find."""
    folder = tmp_path_factory.mktemp("data")
    cuts = write_corpus(folder, ROWS)
    pool = {"pool": "one", "groups": [{"kind": "descriptive", "prompts": ["What is it?"]}]}
    (folder / "one.yaml").write_text(yaml.safe_dump(pool))
    return cuts, {"pools": [str(folder / "one.yaml")], "progress": False, "max_failed": 1.0}


@pytest.fixture(scope="module")
def unclosed(setting, tmp_path_factory):
    """A directory as it is just before the closing pass."""
    cuts, options = setting
    folder = tmp_path_factory.mktemp("unclosed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nemo_desta.selfgen.engine.finish", lambda folder: None)
        run_selfgen(cuts, folder, backend=ChattyBackend(), **options)
    return folder


@pytest.fixture(scope="module")
def closed(unclosed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("closed") / "out"
    shutil.copytree(unclosed, folder)
    finish(folder)
    return folder


def test_every_row_is_there_once_and_duplicates_stand_with_their_reason(unclosed, closed):
    def ids(folder):
        return Counter(r["id"] for part in ("", "filtered", "failed") for r in lines(folder / part / "records.jsonl"))

    assert ids(closed) == ids(unclosed) and set(ids(closed).values()) == {1} and ids(closed).total() == ROWS
    summary = json.loads((closed / "summary.json").read_text())
    assert summary["finished"] and summary["ok"] + summary["filtered"] + summary["failed"] == ROWS
    filtered = lines(closed / "filtered" / "records.jsonl")
    assert (
        Counter(f"filtered: {r['reason']}" for r in filtered) + Counter(failed=summary["failed"]) == summary["reasons"]
    )
    kept = [r.id for r in read_records(closed / "records.jsonl")]
    near = [r for r in filtered if r["reason"] in ("duplicate", "near_duplicate")]
    assert near and all(r["provenance"]["matched"].removeprefix("says the same as ") in kept for r in near)
    assert lines(closed / "filtered" / "records.jsonl")[: len(filtered) - len(near)] == lines(
        unclosed / "filtered" / "records.jsonl"
    )
    assert sum(r.response == "A piano." for r in read_records(closed / "records.jsonl")) > 10, "short ones may repeat"


def test_a_finished_directory_is_left_as_it_is(closed):
    before = {p: p.stat().st_mtime_ns for p in closed.rglob("*") if p.is_file()}
    assert finish(closed).finished
    assert {p: p.stat().st_mtime_ns for p in closed.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("step", ["os.replace", "os.fsync", "sync_folder", "write_json", "shutil.rmtree"])
def test_stopped_at_any_step_the_next_start_ends_right(unclosed, closed, tmp_path, monkeypatch, step):
    owner, _, name = step.rpartition(".")
    place = getattr(staging, owner) if owner else staging
    real, stopped = getattr(place, name), 0
    for number in range(100):
        folder, calls = tmp_path / str(number), []
        shutil.copytree(unclosed, folder)

        def stops(*args, calls=calls, number=number, **kwargs):
            calls.append(1)
            if len(calls) == number + 1:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(place, name, stops)
            try:
                finish(folder)
                break
            except KeyboardInterrupt:
                stopped += 1
        finish(folder)
        assert files(folder) == files(closed)
        shutil.rmtree(folder)
    assert stopped >= 1


def _killed(folder: Path, number: int) -> None:
    real, calls = os.replace, []

    def kills(*args):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args)

    os.replace = kills
    finish(folder)


def test_killed_between_any_two_renames_the_same_command_ends_right(setting, unclosed, closed, tmp_path):
    cuts, options = setting
    for number in range(1, 20):
        folder = tmp_path / str(number)
        shutil.copytree(unclosed, folder)
        child = get_context("fork").Process(target=_killed, args=(folder, number))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        again = run_selfgen(cuts, folder, backend=ChattyBackend(), **options)
        assert again.finished and again.new_rows == 0
        assert files(folder) == files(closed)
        assert not (folder / ".work" / "closing").exists()
    assert number > 5, "it was to be killed several times"


def test_merged_shards_are_closed_like_one_process(setting, closed, tmp_path):
    cuts, options = setting
    for i in (2, 0, 1):
        assert not run_selfgen(cuts, tmp_path, backend=ChattyBackend(), shard=f"{i}/3", **options).finished
        assert not (tmp_path / "README.md").exists()
    assert merge_shards(tmp_path).finished
    merged, single = files(tmp_path), files(closed)
    for manifest in (merged, single):
        del manifest["manifest.json"]  # names the number of shards
    assert merged == single


def test_a_file_changed_by_hand_is_noticed_and_nothing_is_replaced(unclosed, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(unclosed, folder)
    path = folder / "records.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    before = path.read_bytes()
    with pytest.raises(SelfGenError, match="changed by hand"):
        finish(folder)
    assert path.read_bytes() == before and not (folder / "README.md").exists()


def test_without_the_section_duplicates_stay(setting, tmp_path):
    cuts, options = setting
    rules = load_yaml(conf_dir() / "filters" / "default.yaml")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({**rules, "duplicates": None}))
    summary = run_selfgen(
        cuts, tmp_path / "out", backend=ChattyBackend(), filter_config=str(tmp_path / "rules.yaml"), **options
    )
    assert summary.finished and not any("duplicate" in reason for reason in summary.reasons)
    assert "Duplicates were not looked for" in (tmp_path / "out" / "report.md").read_text()


def test_the_report_names_reasons_causes_and_examples(closed):
    report = (closed / "report.md").read_text()
    for piece in (
        "betrays_text",
        "near_duplicate",
        "matched:  metadata",
        "says the same as cut",
        "out of luck",
        "50 %",
    ):
        assert piece in report
    assert report.count("id:       cut") <= 3 * 3


def test_a_response_kept_at_the_token_limit_is_marked(setting, tmp_path):
    class Cut(ChattyBackend):
        @staticmethod
        def _answer(request):
            from nemo_desta.selfgen.backends import Generation

            return Generation("A piano and then", "length", 4)

    cuts, options = setting
    (tmp_path / "rules.yaml").write_text("on_length: keep\n")
    summary = run_selfgen(cuts, tmp_path / "out", backend=Cut(), filter_config=str(tmp_path / "rules.yaml"), **options)
    assert summary.ok == ROWS
    assert {r.provenance["finish_reason"] for r in read_records(tmp_path / "out" / "records.jsonl")} == {"length"}
    assert f"{ROWS} of them were cut at the token limit" in (tmp_path / "out" / "report.md").read_text()
