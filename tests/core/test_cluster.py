"""Jobs on real dask workers: where they run, what a worker or scheduler that dies costs, who is refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.core import cluster
from workbench.core.cluster import Job, connect, spread
from workbench.core.errors import ClusterError, ParameterError, StoreError
from workbench.core.splits import Split
from workbench.core.study import study

distributed = pytest.importorskip("distributed", reason="needs dask.distributed (the extra 'cluster')")
pytestmark = pytest.mark.slow  # processes that start

cloudpickle = pytest.importorskip("cloudpickle")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test files
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client():
    with connect("local:2") as client:
        yield client


@pytest.fixture
def mortal():
    """Workers of a test that kills them: dask does not always start one anew that died while another was starting."""
    with connect("local:2") as client:
        yield client


def jobs_of(function, count, **options):
    return [
        Job(f"job {i}", f"{function.__name__}-{os.urandom(4).hex()}", function, (i,), **options) for i in range(count)
    ]


def outcomes(client, jobs):
    return {job.name: outcome for job, outcome in spread(client, jobs)}


def test_jobs_come_back_with_what_they_made(client):
    assert outcomes(client, jobs_of(_square, 20)) == {f"job {i}": i * i for i in range(20)}


def test_a_job_has_the_threads_the_folder_and_the_environment_of_its_caller(client, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_DATA", f"here{os.pathsep}/there")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (found,) = outcomes(client, jobs_of(_surroundings, 1)).values()
    assert found == (torch.get_num_threads(), str(tmp_path), f"{tmp_path}/here{os.pathsep}/there", "3")


def test_errors_and_warnings_come_back(client):
    with pytest.warns(UserWarning, match="mind job 0"):
        found = outcomes(client, jobs_of(_fails, 1))
    assert isinstance(found["job 0"], ParameterError) and "x=0 must be positive" in str(found["job 0"])


def test_what_a_worker_cannot_read_is_said_and_not_waited_for(client):
    jobs = [Job("unreadable", os.urandom(4).hex(), _square, (_Unreadable(),)), *jobs_of(_square, 2)]
    found = outcomes(client, jobs)
    assert isinstance(found["unreadable"], ClusterError) and "ImportError: only the caller has it" in str(
        found["unreadable"]
    )
    assert found["job 1"] == 1


def test_one_computation_serves_two_callers(client, tmp_path):
    jobs = [Job("shared", "shared-key", _slow_mark, (str(tmp_path),))]
    with distributed.Client(client.scheduler.address) as other:
        first, second = spread(client, jobs), spread(other, jobs)
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda each: list(each)[0][1], (first, second)))
    assert found[0] == found[1] and len(list(tmp_path.iterdir())) == 1


def test_a_worker_that_is_killed_costs_nothing_but_time(mortal, tmp_path):
    jobs = [Job(f"job {i}", f"killed-{i}", _die_once, (i, str(tmp_path))) for i in range(6)]
    assert outcomes(mortal, jobs) == {f"job {i}": i for i in range(6)}
    assert (tmp_path / "died").exists()


def test_out_of_memory_is_done_again_smaller(client):
    job = Job("big", "big", _greedy, (8,), smaller=lambda: Job("big", "big", _greedy, (4,)))
    with pytest.warns(UserWarning, match="big is done again: on tcp://.*, MemoryError"):
        ((_, outcome),) = spread(client, [job])
    assert outcome == 4


def test_a_job_that_kills_every_worker_is_given_up(mortal):
    job = Job("deadly", "deadly", _die_always, (2,), smaller=lambda: Job("deadly", "deadly", _die_always, (1,)))
    with pytest.warns(UserWarning, match="deadly is done again: on its worker, ClusterError: the workers .* killed"):
        assert [outcome for _, outcome in spread(mortal, [job])] == [1]
    ((_, outcome),) = spread(mortal, [Job("deadly", "deadly again", _die_always, (2,))])
    assert isinstance(outcome, ClusterError) and "too little memory" in str(outcome)


def test_a_worker_that_cannot_write_is_avoided(client, tmp_path):
    client.wait_for_workers(2, timeout=300)
    with pytest.warns(UserWarning, match="done again: on tcp://.*StoreError: .* disk is full"):
        found = outcomes(client, [Job("job", "full-disk", _full_disk_once, (str(tmp_path),))])
    assert found["job"] == 2 and len(list(tmp_path.iterdir())) == 2, "two workers tried"


def test_large_things_travel_once(client, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    value = np.arange(500_000.0)
    with cluster.parcels() as pack:
        packed = pack(value)
        assert isinstance(packed, cluster.Parcel) and pack("small") == "small"
        jobs = [Job(f"job {i}", f"parcel-{i}", _total, (packed, i)) for i in range(3)]
        assert outcomes(client, jobs) == {f"job {i}": value.sum() + i for i in range(3)}
    assert list((tmp_path / "parcels").iterdir()) == []


def test_a_study_is_the_same_table(client, tmp_path):
    split = Split(np.arange(6), np.arange(6, 8), np.arange(8, 10))
    x = np.arange(10.0)

    def task(setting, split, seed):
        if setting["a"] == 3 and seed:
            raise ParameterError("a", 3, "less")
        return {"value": float(x[split.train].sum()) * setting["a"] + seed}

    options = {"splits": [split], "seeds": [0, 1], "progress": False}
    with pytest.warns(UserWarning, match="1 of 6 runs failed"):
        spread_out = study(task, {"a": [1, 2, 3]}, client=client, resume=tmp_path, **options)
    twice = study(task, [{"a": 1}, {"a": 1}], client=client, resume=tmp_path / "twice", **options)
    assert twice["value"].tolist() == [15, 16, 15, 16]
    with pytest.warns(UserWarning, match="1 of 6 runs failed"):
        here = study(task, {"a": [1, 2, 3]}, **options)
    assert spread_out.drop(columns="seconds").equals(here.drop(columns="seconds"))
    assert len(list(tmp_path.glob("*.json"))) == 5, "kept by the workers"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("local:0", "local.:N., tcp"),
        ("locally", "local.:N., tcp"),
        ("no_such_module:make", "No module named 'no_such_module'"),
        ("os:no_such_function", "no_such_function"),
        ("os:getcwd", "a function that returns a dask client or cluster"),
    ],
)
def test_other_words_are_refused(given, expected):
    with pytest.raises(ParameterError, match=f"cluster='{given}' must be .*{expected}"), connect(given):
        pass


def test_no_scheduler_is_said(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECTING", 1)
    with pytest.raises(ClusterError, match="tcp://127.0.0.1:9': no scheduler answers"), connect("tcp://127.0.0.1:9"):
        pass


def test_ones_own_function_makes_the_client(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f"import distributed\ndef make():\n    return distributed.Client({client.scheduler.address!r})\n"
    (tmp_path / "mine.py").write_text(text)
    for words in ("mine.py:make", "mine:make"):
        with connect(words) as own:
            assert outcomes(own, jobs_of(_square, 3)) == {"job 0": 0, "job 1": 1, "job 2": 4}
            own.close()


def test_a_gpu_a_worker(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    with connect("local") as client:
        told = sorted(outcomes(client, jobs_of(_devices, 6)).values())
        states = client.scheduler_info(n_workers=-1)["workers"].values()
        assert [state["resources"] for state in states] == [{"GPU": 1}] * 2
        assert set(told) <= {"5", "7"}


class Outside:
    """A scheduler and workers as a user starts them by hand, in folders of their own."""

    def __init__(self, folder):
        self.folder, self.port, self.processes = folder, _free_port(), []

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def start(self, *words, **environment):
        here = self.folder / f"process {len(self.processes)}"
        here.mkdir()
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        own = {**os.environ, "PYTHONPATH": paths, **environment}
        command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
        process = subprocess.Popen(
            command,
            cwd=here,
            env=own,
            stdout=subprocess.DEVNULL,
            stderr=(here / "log").open("w"),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def scheduler(self):
        options = ("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        return self.start("dask_scheduler", *options)

    def worker(self, **environment):
        return self.start("dask_worker", self.address, "--nthreads", "1", "--no-dashboard", **environment)

    def end(self, process, number=signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            process.wait(20)


@pytest.fixture
def outside(tmp_path):
    made = Outside(tmp_path)
    yield made
    for process in made.processes:
        made.end(process)


def test_a_scheduler_that_is_started_anew_is_waited_for(outside, tmp_path):
    scheduler, _ = outside.scheduler(), outside.worker()
    done = tmp_path / "done"
    done.mkdir()
    jobs = [Job(f"job {i}", f"again-{i}", _mark, (i, str(done))) for i in range(8)]
    found = {}
    with connect(outside.address) as client:
        for job, outcome in spread(client, jobs):
            found[job.name] = outcome
            if len(found) == 2:
                outside.end(scheduler)
                outside.scheduler()
                outside.worker()
    assert found == {f"job {i}": i for i in range(8)}


def test_a_worker_of_another_version_is_refused_by_name(outside, tmp_path):
    other = tmp_path / "older" / "workbench" / "core"
    other.mkdir(parents=True)
    (other.parent / "__init__.py").write_text("")
    (other / "__init__.py").write_text("")
    (other / "cluster.py").write_text("def code_version():\n    return '0.0.1, code old'\n")
    outside.scheduler()
    outside.worker(PYTHONPATH=str(tmp_path / "older"))
    with connect(outside.address) as client:
        with pytest.raises(ClusterError, match="no worker of .* has this version .* has workbench 0.0.1, code old"):
            outcomes(client, jobs_of(_square, 2))
        outside.worker()
        client.wait_for_workers(2, timeout=300)
        with pytest.warns(UserWarning, match="1 workers get no work, .* has workbench 0.0.1, code old"):
            assert outcomes(client, jobs_of(_square, 8)) == {f"job {i}": i * i for i in range(8)}
        done, found = tmp_path / "done", {}
        done.mkdir()
        with pytest.warns(UserWarning, match="1 workers get no work"):
            for job, outcome in spread(
                client, [Job(f"job {i}", f"alone-{i}", _mark, (i, str(done))) for i in range(6)]
            ):
                found[job.name] = outcome
                if len(found) == 1:  # the only one that may work dies; another comes later, under another address
                    outside.end(outside.processes[-1])
                    outside.worker()
        assert found == {f"job {i}": i for i in range(6)}


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- jobs ----


class _Unreadable:
    def __reduce__(self):
        return _only_here, ()


def _only_here():
    raise ImportError("only the caller has it")


def _square(i):
    return i * i


def _surroundings(_):
    return torch.get_num_threads(), os.getcwd(), os.environ["WORKBENCH_DATA"], os.environ["OMP_NUM_THREADS"]


def _fails(i):
    import warnings

    warnings.warn(f"mind job {i}", stacklevel=1)
    raise ParameterError("x", i, "positive")


def _slow_mark(folder):
    time.sleep(1)
    name = os.urandom(8).hex()
    (Path(folder) / name).touch()
    return name


def _mark(i, folder):
    time.sleep(0.5)
    (Path(folder) / str(i)).touch()
    return i


def _die_once(i, folder):
    if i == 3 and not (Path(folder) / "died").exists():
        (Path(folder) / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return i


def _die_always(size):
    if size > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return size


def _greedy(size):
    if size > 4:
        raise MemoryError("no room")
    return size


def _full_disk_once(folder):
    (Path(folder) / str(os.getpid())).touch()
    count = len(list(Path(folder).iterdir()))
    if count == 1:
        raise StoreError("the disk is full")
    return count


def _total(values, i):
    return float(values.sum()) + i


def _devices(_):
    return os.environ["CUDA_VISIBLE_DEVICES"]
