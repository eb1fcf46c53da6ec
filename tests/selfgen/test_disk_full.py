"""A disk that fills up: a limit on the size of files stands for it, the system refuses the write in the same way."""

import resource
from multiprocessing import get_context
from pathlib import Path

import pytest

from nemo_desta.errors import SelfGenError
from nemo_desta.selfgen import run_selfgen
from tests.selfgen.corpus import write_corpus
from tests.selfgen.fake import FakeBackend

OPTIONS = {"prompts_per_cut": 2, "batch_size": 4, "sync_every": 4, "progress": False}


def _limited(cuts: Path, output: Path, limit: int, answer) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        run_selfgen(cuts, output, backend=FakeBackend(), **OPTIONS)
        answer.put("finished")
    except SelfGenError as err:
        answer.put(str(err))
    except BaseException as err:
        answer.put(repr(err))


def run_limited(cuts: Path, output: Path, limit: int) -> str:
    """What self-generation says where no file can grow beyond `limit` bytes."""
    context = get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=_limited, args=(cuts, output, limit, answer))
    child.start()
    child.join()
    return answer.get()


def test_finished_rows_outlive_a_full_disk(tmp_path):
    cuts = write_corpus(tmp_path / "data", 60)
    run_selfgen(cuts, tmp_path / "calm", backend=FakeBackend(), **OPTIONS)
    expected = {p.name: p.read_bytes() for p in (tmp_path / "calm").rglob("*.jsonl")}
    sealed = max(len(data) for data in expected.values())
    for limit in (20_000, 50_000, sealed // 2):
        said = run_limited(cuts, tmp_path / "full", limit)
        assert "make room and start again" in said, said
    backend = FakeBackend()
    summary = run_selfgen(cuts, tmp_path / "full", backend=backend, **OPTIONS)
    assert {p.name: p.read_bytes() for p in (tmp_path / "full").rglob("*.jsonl")} == expected
    assert 0 < summary.new_rows < summary.total, "what was written before the disk was full is not made again"


def test_a_disk_full_at_the_end_leaves_no_half_file(tmp_path):
    name = "records.jsonl"
    cuts = write_corpus(tmp_path / "data", 60)
    run_selfgen(cuts, tmp_path / "calm", backend=FakeBackend(), **OPTIONS)
    size = (tmp_path / "calm" / name).stat().st_size
    with pytest.raises(KeyboardInterrupt):
        run_selfgen(cuts, tmp_path / "full", backend=_StopsAfter(29), **OPTIONS)
    log = next((tmp_path / "full" / ".work").iterdir()).stat().st_size
    assert log > size // 2
    said = run_limited(cuts, tmp_path / "full", log + 10)
    assert "make room and start again" in said and not (tmp_path / "full" / name).exists()
    run_selfgen(cuts, tmp_path / "full", backend=FakeBackend(), **OPTIONS)
    assert (tmp_path / "full" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes()


class _StopsAfter(FakeBackend):
    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def generate(self, requests, sampling):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().generate(requests, sampling)
