"""`modelarts-exporter backfill` as an operator uses it: real processes, a real promtool, a real Prometheus."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY, Options, Simulator, parse_fault
from exporter.simulator.world.job import Job, JobState
from exporter.simulator.world.usage import sampled, slots, values
from tests.programs import Prometheus, found, until

COMMAND = (sys.executable, "-m", "exporter", "backfill")
DAY_S = 86_400.0
STEP_S = 3600.0


@pytest.fixture
async def cloud() -> AsyncIterator[Simulator]:
    """120 ended jobs of both API generations, and no arrivals."""
    async with Simulator(Options(jobs=0, history=120)) as cloud:
        yield cloud


def config_of(folder: Path, cloud: Simulator, **more: Any) -> Path:
    """Settings file for one simulated project."""
    target = {
        "project": "vision",
        "endpoint": cloud.url,
        "iam_endpoint": cloud.url,
        "project_id": PROJECT_ID,
        "api": "both",
        "credentials": {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
        "rate_limit": {"requests_per_second": 1000, "burst": 1000, "concurrency": 4},
        **more,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"targets": [target]}), encoding="utf-8")
    return path


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def period(days: float = 40) -> tuple[str, str]:
    """Flags for the last days with fixed ends, so that two runs cover the same period."""
    until_at = time.time() // STEP_S * STEP_S - 3 * STEP_S
    return f"--since={iso(until_at - days * DAY_S)}", f"--until={iso(until_at)}"


async def start(*flags: str) -> Process:
    return await asyncio.create_subprocess_exec(*COMMAND, *flags, stdout=PIPE, stderr=PIPE)


async def run_command(*flags: str) -> tuple[int | None, str]:
    """Run the command to its end. Returns exit code and stderr."""
    process = await start(*flags)
    _, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, err.decode()


def file_names(folder: Path) -> list[str]:
    """Names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def status_at(job: Job, at: float) -> str | None:
    """True status of a job at a time. None: it does not exist yet or its retention is over."""
    if at < job.submitted_at:
        return None
    ended_at = job.ended_at if job.ended_at is not None else float("inf")
    if job.started_at is None:
        ended_at = job.submitted_at  # the API has no end of a job that never started; it counts as ended at once
    if at < ended_at:
        return "running" if job.started_at is not None and at >= job.started_at else "queued"
    end = {JobState.COMPLETED: "completed", JobState.TERMINATED: "terminated", JobState.LOST: "lost"}.get(
        job.state, "failed"
    )
    return end if at < ended_at + DAY_S else None


async def test_prometheus_returns_the_true_history(cloud: Simulator, tmp_path: Path) -> None:
    """Through promtool and Prometheus, jobs, accelerators, counters and usage equal the simulator's ground truth."""
    promtool = found("promtool")
    world = cloud.world
    base = time.time() // STEP_S * STEP_S - 5 * DAY_S
    mine = world.submit("mine", nodes=2, user="ada", submitted_at=base + 600)
    world.start(mine, at=base + 1200)
    world.complete(mine, at=base + 1200 + 5 * STEP_S)
    first = world.submit("first", api="v1", nodes=1, submitted_at=base + 600)
    world.start(first, at=base + 900)
    world.fail(first, at=base + 900 + 2 * STEP_S)
    config, output = config_of(tmp_path, cloud), tmp_path / "history.om"

    code, err = await run_command(
        f"--config.file={config}", f"--output={output}", *period(11), "--step=1h", "--label=job=modelarts"
    )
    assert code == 0, err
    assert not (tmp_path / "history.om.part").exists()
    importer = await asyncio.create_subprocess_exec(
        promtool,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        output,
        tmp_path / "prometheus",
        stdout=PIPE,
        stderr=PIPE,
    )
    _, import_log = await asyncio.wait_for(importer.communicate(), 240)
    assert importer.returncode == 0, import_log.decode()

    flags = ("--storage.tsdb.retention.time=10y",)
    async with Prometheus({"scrape_configs": []}, folder=tmp_path, flags=flags) as prometheus:

        async def ask(expression: str, at: float) -> dict[str, float]:
            answer = await prometheus.json("/api/v1/query", query=expression, time=str(at))
            return {",".join(item["metric"].values()): float(item["value"][1]) for item in answer["data"]["result"]}

        for hours in range(0, 231, 7):
            at = base - 5 * DAY_S + hours * STEP_S
            expected = Counter(status for job in world.jobs if (status := status_at(job, at)))
            counted = await ask('sum by (status) (modelarts_training_jobs{project="vision"})', at)
            assert {status: number for status, number in counted.items() if number} == dict(expected), at

        selector = f'job_id="{mine.id}"'
        at = base + 4 * STEP_S
        assert await ask(f"modelarts_training_job_status_accelerators{{{selector}}}", at) == {
            f"modelarts_training_job_status_accelerators,gpu,modelarts,{mine.id},vision": 16.0
        }
        held = await ask('sum(modelarts_training_accelerators{state="held",accelerator="gpu",pool_id=""})', at)
        assert sum(held.values()) == sum(
            job.accelerators
            for job in world.jobs
            if status_at(job, at) == "running" and not job.pool and job.flavor.accelerator == "gpu"
        )
        assert list(await ask(f'modelarts_training_job_info{{{selector},user="ada",job_name="mine"}}', at))
        ended = base + 1200 + 5 * STEP_S
        assert list((await ask(f"modelarts_training_job_status{{{selector}}} == 1", ended + STEP_S)).values()) == []
        increased = await ask(
            'sum(increase(modelarts_training_jobs_finished_total{status=~"completed|failed|terminated|lost"}[10d]))',
            base + 5 * DAY_S - 4 * STEP_S,
        )
        ends = sum(
            1
            for job in world.jobs
            if job.ended_at is not None and base - 5 * DAY_S < job.ended_at <= base + 5 * DAY_S - 4 * STEP_S
        )
        assert sum(increased.values()) == pytest.approx(ends, rel=0.06, abs=1.5)  # increase() extrapolates

        for job in (mine, first):
            series = await prometheus.json(
                "/api/v1/query",
                query=f'modelarts_training_job_accelerator_utilization_ratio{{job_id="{job.id}"}}[12h]',
                time=str(base + 10 * STEP_S),
            )
            ((result),) = series["data"]["result"]
            assert samples_of(result) == pytest.approx(true_samples(job))


def samples_of(result: Mapping[str, Any]) -> dict[float, float]:
    return {float(at): float(value) for at, value in result["values"]}


def true_samples(job: Job) -> dict[float, float]:
    """Sampled minutes of a run by their end, as mean over the tasks, computed by the simulator."""
    assert job.started_at is not None
    span = slots(job, job.ended_at or 0.0)
    tasks = [values(job, "acc", task=task, span=span) for task in range(len(job.tasks) if job.api == "v2" else 1)]
    return {
        job.started_at + (minute + 1) * 60: sum(column) / len(column) / 100
        for minute, there, *column in zip(span, sampled(job, span), *tasks, strict=True)
        if there
    }


@pytest.mark.endurance
async def test_repeated_kills_give_the_same_file(cloud: Simulator, tmp_path: Path) -> None:
    """SIGKILL at five points: the sixth run continues, repeats few calls, and writes the same bytes."""
    flags = (*period(), "--step=30m")
    config = config_of(tmp_path, cloud)
    code, err = await run_command(f"--config.file={config}", f"--output={tmp_path / 'whole.om'}", *flags)
    assert code == 0, err
    once = len(cloud.requests)
    cloud.requests.clear()

    slow = config_of(tmp_path, cloud, rate_limit={"requests_per_second": 100, "burst": 1, "concurrency": 4})
    output = tmp_path / "history.om"
    for stop_at in range(1, 6):

        async def enough_requests(number: int = stop_at * once // 6) -> bool:
            return len(cloud.requests) >= number

        process = await start(f"--config.file={slow}", f"--output={output}", *flags)
        await until(enough_requests, "the run is under way")
        process.kill()
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not output.exists()
    code, err = await run_command(f"--config.file={slow}", f"--output={output}", *flags)

    assert code == 0, err
    assert output.read_bytes() == (tmp_path / "whole.om").read_bytes()
    assert (
        once <= len(cloud.requests) <= once + 6 * 12
    )  # per run: the calls of a start and those in flight at the kill
    assert file_names(tmp_path) == ["config.yaml", "history.om", "whole.om"]


async def test_the_rate_limit_is_kept(cloud: Simulator, tmp_path: Path) -> None:
    """At 50 calls a second and a burst of 5, n calls take at least (n - 5) / 50 s. Usage takes one call per task."""
    config = config_of(tmp_path, cloud, rate_limit={"requests_per_second": 50, "burst": 5, "concurrency": 4})
    flags = period(30)
    code, err = await run_command(f"--config.file={config}", f"--output={tmp_path / 'history.om'}", *flags)

    assert code == 0, err
    until_at = datetime.fromisoformat(flags[1].removeprefix("--until=")).timestamp()
    times = sorted(request.at for request in cloud.requests)
    assert len(times) > 30
    assert times[-1] - times[0] >= (len(times) - 5 - 1) / 50 - 0.05
    assert cloud.requests.count("v2.metrics") == sum(
        len(job.tasks)
        for job in cloud.world.jobs
        if job.api == "v2"
        and job.started_at is not None
        and job.started_at < until_at
        and (job.ended_at or 0) > until_at - 30 * DAY_S
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_an_interrupted_run_can_be_continued(cloud: Simulator, tmp_path: Path, number: int) -> None:
    """A signal ends it with exit code 1 and one sentence. The same command continues without a new listing."""
    slow = config_of(tmp_path, cloud, rate_limit={"requests_per_second": 20, "burst": 1, "concurrency": 4})
    flags = (f"--output={tmp_path / 'history.om'}", *period(), "--log.level=error")

    async def asks() -> bool:
        return cloud.requests.count("v2.metrics") > 2

    process = await start(f"--config.file={slow}", *flags)
    await until(asks, "usage is requested")
    process.send_signal(number)
    _, log = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 1
    assert log.decode() == "modelarts-exporter: interrupted; the same command continues where it stopped\n"
    cloud.requests.clear()
    code, err = await run_command(f"--config.file={config_of(tmp_path, cloud)}", *flags)
    assert code == 0, err
    assert cloud.requests.count("v1.versions") == 0
    assert cloud.requests.count("v2.search") == 0


async def test_a_wrong_key_is_one_sentence(cloud: Simulator, tmp_path: Path) -> None:
    """A wrong key: exit code 1, one sentence, no traceback and no output file."""
    credentials = {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": "wrong"}
    config = config_of(tmp_path, cloud, credentials=credentials)
    code, err = await run_command(
        f"--config.file={config}", f"--output={tmp_path / 'history.om'}", *period(), "--log.level=error"
    )

    assert code == 1
    assert len(err.splitlines()) == 1
    assert "vision" in err
    assert "the same command continues" in err
    assert not (tmp_path / "history.om").exists()


async def test_a_throttled_api_gives_the_same_file(cloud: Simulator, tmp_path: Path) -> None:
    """With 429 for one call in ten, the calls are repeated and the file equals the one without faults."""
    flags = (*period(), "--step=30m")
    config = config_of(tmp_path, cloud)
    await run_command(f"--config.file={config}", f"--output={tmp_path / 'plain.om'}", *flags)
    cloud.faults.add(parse_fault("429:retry_after=0,probability=0.1"))

    code, err = await run_command(f"--config.file={config}", f"--output={tmp_path / 'throttled.om'}", *flags)

    assert code == 0, err
    assert (tmp_path / "throttled.om").read_bytes() == (tmp_path / "plain.om").read_bytes()


@pytest.mark.parametrize(
    "flags, sentence",
    [
        pytest.param(("--since=soon",), "neither a duration such as 30d nor a time", id="no moment"),
        pytest.param(("--since=1h", "--until=2h"), "--until=2h is not after --since=1h", id="backwards"),
        pytest.param(("--since=30d", "--step=0s"), "must be at least 1s", id="no step"),
        pytest.param(("--since=30d", "--split=1h"), "must be at least 7200s", id="less than a block"),
        pytest.param(("--since=30d", "--label=project=x"), "series have a label project already", id="label taken"),
        pytest.param(("--since=30d", "--label=9=x"), "must be a label and its value", id="no label"),
        pytest.param(("--since=4h", "--until=239m", "--step=1d"), "no moment of --step", id="step too long"),
    ],
)
async def test_wrong_usage_is_one_sentence(
    cloud: Simulator, tmp_path: Path, flags: tuple[str, ...], sentence: str
) -> None:
    """Exit code 2 and one sentence, no API call and no file."""
    config = config_of(tmp_path, cloud)
    code, err = await run_command(f"--config.file={config}", f"--output={tmp_path / 'history.om'}", *flags)

    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert len(cloud.requests) == 0
    assert file_names(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize("until, warned", [("1h", True), ("0s", True), ("179m", True), ("3h", False), ("2d", False)])
async def test_an_end_within_the_head_of_prometheus_is_a_warning(
    cloud: Simulator, tmp_path: Path, until: str, warned: bool
) -> None:
    """One sentence names the flag, the reason and what to do. The file is written all the same."""
    config, output = config_of(tmp_path, cloud), tmp_path / "history.om"
    code, err = await run_command(
        f"--config.file={config}", f"--output={output}", "--since=3d", f"--until={until}", "--no-per-job"
    )

    assert code == 0, err
    assert output.exists()
    assert (
        f"--until={until} is within the last three hours, which a running Prometheus writes itself" in err
    ) == warned


async def test_an_output_is_overwritten_only_by_force(cloud: Simulator, tmp_path: Path) -> None:
    """An existing file stays and no API call is made. With --force it is replaced."""
    config, output = config_of(tmp_path, cloud), tmp_path / "history.om"
    output.write_text("precious", encoding="utf-8")
    flags = (f"--config.file={config}", f"--output={output}", *period(5))

    code, err = await run_command(*flags)
    assert (code, output.read_text(encoding="utf-8"), len(cloud.requests)) == (2, "precious", 0)
    assert err == f"modelarts-exporter: {output} exists; --force overwrites it\n"

    code, err = await run_command(*flags, "--force")
    assert code == 0, err
    assert output.read_text(encoding="utf-8").endswith("# EOF\n")


async def test_a_run_is_not_continued_as_another(cloud: Simulator, tmp_path: Path) -> None:
    """Data read for one period is not used for another. --restart discards it."""
    denied = config_of(tmp_path, cloud, credentials={"type": "aksk", "access_key": ACCESS_KEY, "secret_key": "wrong"})
    base = (f"--output={tmp_path / 'history.om'}", "--no-usage", "--log.level=error")
    assert (await run_command(f"--config.file={denied}", *base, "--since=20d"))[0] == 1
    config = config_of(tmp_path, cloud)

    code, err = await run_command(f"--config.file={config}", *base, "--since=30d")
    assert code == 2
    assert err == (
        "modelarts-exporter: an interrupted run had another --since: repeat it, or start again with --restart\n"
    )

    code, err = await run_command(f"--config.file={config}", *base, "--since=30d", "--restart")
    assert code == 0, err
    assert "jobs, " in err
