"""Self-generation over a real, local Ray: workers, drivers and engines die, and the rows are those of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nemo_desta.errors import ConfigError, SelfGenError
from nemo_desta.selfgen import run_selfgen
from nemo_desta.selfgen.backends.options import HFOptions, OpenAIOptions, VLLMOptions
from nemo_desta.selfgen.cluster.connection import import_ray
from nemo_desta.selfgen.cluster.deal import Deal
from nemo_desta.selfgen.cluster.options import RayOptions, backend_of_worker
from nemo_desta.selfgen.cluster.worker import Made, Tracker
from tests.selfgen.corpus import write_corpus
from tests.selfgen.dying import DyingBackend, FailingBackend, PoisonedBackend, TracedBackend
from tests.selfgen.fake import FakeBackend

OPTIONS = {"prompts_per_cut": 2, "batch_size": 4, "sync_every": 4, "pools": ["smol"], "progress": False}
CUTS = 24

# Ray's own thread ends in this way when an error stops the run
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("data"), CUTS)


@pytest.fixture(scope="module")
def whole(cuts, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    run_selfgen(cuts, out, backend=FakeBackend(), **OPTIONS)
    return rows(out)


@pytest.fixture(scope="module")
def address():
    """A cluster that runs already, as a lab has one."""
    import_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def rows(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


def on_ray(cuts, out, backend, address=None, **ray):
    return run_selfgen(
        cuts, out, backend=backend, engine="ray", ray={"address": address, "shards": 3, **ray}, **OPTIONS
    )


def wait_until(true, seconds=60.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def gone(pids):
    return all(not Path(f"/proc/{p}").exists() or " Z " in Path(f"/proc/{p}/stat").read_text() for p in pids)


def test_workers_that_die_in_any_way_lose_nothing(cuts, whole, tmp_path, address):
    backend = DyingBackend(tmp_path / "traces")
    summary = on_ray(cuts, tmp_path / "out", backend, address)
    assert all((backend.folder / way).exists() for way in backend.ways), "it died in each way"
    assert len(backend.processes()) >= 4, "each time another process went on"
    assert rows(tmp_path / "out") == whole
    assert summary.new_rows == 2 * CUTS, "those of the dead included"
    assert summary.total == 2 * CUTS == summary.ok + summary.filtered + summary.failed


def test_a_row_that_always_kills_ends_the_run_and_the_others_are_kept(cuts, whole, tmp_path, address):
    with pytest.raises(SelfGenError, match=r"shard 2/3: 1 workers died at it .* RuntimeError: a row that kills") as err:
        on_ray(cuts, tmp_path / "out", PoisonedBackend(tmp_path / "traces"), address, max_deaths=1)
    assert "Traceback" not in str(err.value) and "ray." not in str(err.value)
    summary = on_ray(cuts, tmp_path / "out", FakeBackend(), address, workers=1)
    assert 0 < summary.new_rows < summary.total, "what was finished is not made again"
    assert rows(tmp_path / "out") == whole
    again = on_ray(cuts, tmp_path / "out", FakeBackend(), "nowhere:1")
    assert again.new_rows == 0, "where all is done no cluster is asked"


def test_errors_of_workers_reach_the_user_as_they_are(cuts, tmp_path, address):
    with pytest.raises(
        SelfGenError, match=r"^shard \d/3: \d+ of \d+ rows failed, more than max_failed=0.05 allows; .*out of luck"
    ):
        on_ray(cuts, tmp_path / "failing", FailingBackend(), address, workers=1)
    told = {"shard": 1, "kind": "ConfigError", "error": "no such dtype"}
    with pytest.raises(ConfigError, match="^shard 1/3: no such dtype$"):
        Deal._read(SimpleNamespace(number=3), told)
    with pytest.raises(SelfGenError, match=r"^Ray gave up \(ValueError: of its own\)\. Finished rows are kept"):
        Deal._read(SimpleNamespace(number=3), ValueError("of\nits own"))


def test_a_cluster_without_room_is_not_waited_for_for_ever(cuts, tmp_path, address, caplog):
    with pytest.raises(
        SelfGenError, match=r"nothing was heard .* each wants 64 CPU and 0 GPU, free in the cluster are 4 CPU"
    ):
        on_ray(cuts, tmp_path / "out", FakeBackend(), address, num_cpus=64, patience=2)
    assert "room for 0 of ray.workers=2" in caplog.text


def test_an_unreachable_cluster_is_named(cuts, tmp_path):
    with pytest.raises(SelfGenError, match=r"reached at ray\.address=nowhere"):
        on_ray(cuts, tmp_path / "out", FakeBackend(), "nowhere")


DRIVER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits that it is ignored
from tests.selfgen import test_ray as t
try:
    t.on_ray(Path(sys.argv[1]), Path(sys.argv[2]), t.TracedBackend(sys.argv[3], 0.4), workers=1)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
def test_a_driver_that_is_interrupted_or_killed_leaves_no_worker_and_is_continued(cuts, whole, tmp_path, request):
    out, backend = tmp_path / "out", TracedBackend(tmp_path / "traces")
    others = {*children(os.getpid())}
    for how, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = logged(out)
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(cuts), str(out), str(backend.folder)], cwd=request.config.rootpath
        )
        wait_until(lambda before=before, driver=driver: logged(out) > before + 4 or driver.poll() is not None)
        assert driver.poll() is None, "it was to be stopped while it works"
        own = children(driver.pid) if how == signal.SIGINT else []  # two small agents of Ray's own need a minute
        driver.send_signal(how)
        assert driver.wait(60) == status
        wait_until(lambda own=own: gone([*backend.processes(), *own]))
    summary = on_ray(cuts, out, FakeBackend(), workers=1)
    assert 0 < summary.new_rows < summary.total
    assert rows(out) == whole
    wait_until(lambda: gone({*children(os.getpid())} - others))


def logged(out: Path) -> int:
    """Rows that are safe: in the work logs, or in the files of finished shards."""
    return sum(p.read_bytes().count(b"\n") for p in (*out.glob(".work/*.log"), *out.rglob("*.jsonl")))


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def test_more_deaths_are_allowed_while_rows_are_finished():
    tracker = Tracker()
    assert tracker.begin(0, Made(2, 20))[0] == 0
    assert tracker.begin(0, Made(2, 20))[0] == 1
    assert tracker.begin(1, Made(0, 0))[0] == 0, "shards count for themselves"
    assert tracker.begin(0, Made(5, 50))[0] == 0
    tracker.dying(0, "no memory")
    assert tracker.begin(0, Made(5, 50)) == (1, "no memory", Made(2, 20))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"wokers": 2}, "did you mean 'workers'"),
        ({"workers": 0, "patience": 0}, r"ray\.workers=0 must be at least 1; ray\.patience=0 must be at least 1"),
        ({"address": "ray://head:10001"}, "start there, with ray.address=auto"),
        ({"shards": 1}, r"ray\.shards=1 must be at least 2"),
    ],
)
def test_wrong_settings_are_named(cuts, tmp_path, section, message):
    with pytest.raises(ConfigError, match=message):
        run_selfgen(cuts, tmp_path, backend=FakeBackend(), engine="ray", ray=section)


def test_ray_and_shards_by_hand_exclude_each_other(cuts, tmp_path):
    with pytest.raises(ConfigError, match="engine='dask'"):
        run_selfgen(cuts, tmp_path, backend=FakeBackend(), engine="dask")
    with pytest.raises(ConfigError, match="shard='0/2' is for processes without Ray"):
        run_selfgen(cuts, tmp_path, backend=FakeBackend(), engine="ray", shard="0/2")


def test_without_ray_its_extra_is_named(cuts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'nemo-desta\[ray\]'"):
        on_ray(cuts, tmp_path, FakeBackend())


def test_the_number_of_workers_may_change_and_that_of_shards_may_not(cuts, tmp_path):
    manifest = tmp_path / "manifest.json"
    run_selfgen(cuts, tmp_path, backend=FakeBackend(), shard="0/5", **OPTIONS)
    assert json.loads(manifest.read_text())["num_shards"] == 5
    with pytest.raises(SelfGenError, match="num_shards: 5 -> 3"):
        on_ray(cuts, tmp_path, FakeBackend())


def test_workers_on_gpus_are_given_gpus():
    for backend, needed in ((HFOptions(device="cuda"), 1), (VLLMOptions(tensor_parallel_size=4), 4)):
        with pytest.raises(ConfigError, match=rf"set ray\.num_gpus={needed}"):
            backend_of_worker(backend, RayOptions())
        assert backend_of_worker(backend, RayOptions(num_gpus=needed)) == backend


def test_a_budget_of_tokens_is_one_of_all_workers_together():
    assert (
        backend_of_worker(OpenAIOptions("http://x", max_total_tokens=100), RayOptions(workers=4)).max_total_tokens == 25
    )
