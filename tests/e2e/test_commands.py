"""The command line as an operator uses it: real processes, signals, exit codes and error sentences."""

import asyncio
import json
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.commands import main
from exporter.simulator import (
    ACCESS_KEY,
    DOMAIN,
    PASSWORD,
    PROJECT_ID,
    PROJECT_NAME,
    SECRET_KEY,
    USER,
    Options,
    Simulator,
    parse_fault,
)
from exporter.simulator.world.job import Api

COMMAND = (sys.executable, "-m", "exporter")
AKSK = {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
BY_PASSWORD = {"type": "password", "username": USER, "password": PASSWORD, "domain_name": DOMAIN}


@pytest.fixture
async def cloud() -> AsyncIterator[Simulator]:
    """A small simulator with a changing world on the machine's clock."""
    async with Simulator(Options(jobs=10, history=20)) as cloud:
        yield cloud


def write_config(folder: Path, cloud: Simulator, *, credentials: Mapping[str, str] = AKSK, **target: str) -> Path:
    """Write a settings file for one simulated project."""
    document = {
        "targets": [
            {
                "project": "vision",
                "endpoint": cloud.url,
                "iam_endpoint": cloud.url,
                "credentials": dict(credentials),
                **(target or {"project_id": PROJECT_ID}),
            }
        ],
        "collection": {"jobs_interval": "1s", "usage_interval": "1s", "timeout": "3s", "stale_after": "5s"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


async def run_command(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int | None, str, str]:
    """Run a command to its end. Returns exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=PIPE, stderr=PIPE, env=env)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


class Daemon:
    """A running `serve` or `demo` and its log on stderr so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""

    async def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait for a log line with this pattern."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if match := re.search(pattern, line):
                    return match
        raise AssertionError(f"it ended without a line with {pattern}: {''.join(self.lines)}")

    async def wait_until_served(self, pattern: str) -> None:
        """Wait for a log line, then until a snapshot taken after it is published."""
        await self.wait_for_log(pattern)
        # A snapshot that is being published already may be older than the line.
        await self.wait_for_log(r"snapshot\.taken")
        await self.wait_for_log(r"snapshot\.published")

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """GET a path. Returns status and text."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def values(self, name: str) -> dict[str, float]:
        """Current samples of one name by their label text."""
        _, text = await self.get("/metrics")
        return {
            ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }

    async def wait_for_exit(self) -> int:
        """Wait until it exits. Returns the exit code."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            self.lines.append((await self.process.stderr.read()).decode())
            return await self.process.wait()


@asynccontextmanager
async def daemon(*arguments: str) -> AsyncIterator[Daemon]:
    """Start a daemon and wait until it listens."""
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=PIPE, stderr=PIPE)
    running = Daemon(process)
    try:
        started = await running.wait_for_log(r"exporter\.started.*?(127\.0\.0\.1:\d+)")
        running.url = f"http://{started[1]}"
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def serve(config: Path, *more: str) -> tuple[str, ...]:
    return ("serve", f"--config.file={config}", "--web.listen-address=127.0.0.1:0", "--log.level=debug", *more)


@pytest.mark.parametrize(
    "api, credentials, target",
    [
        pytest.param("v1", AKSK, {"project_id": PROJECT_ID}, id="v1-aksk"),
        pytest.param("v2", BY_PASSWORD, {"project_name": PROJECT_NAME}, id="v2-password"),
        pytest.param("auto", AKSK, {"project_id": PROJECT_ID}, id="auto-aksk"),
    ],
)
async def test_serve_serves_what_the_cloud_has(
    cloud: Simulator, tmp_path: Path, api: Api, credentials: Mapping[str, str], target: Mapping[str, str]
) -> None:
    """With a settings file, `serve` exports the jobs, is healthy and ready, and serves the status page."""
    config = write_config(tmp_path, cloud, credentials=credentials, api=api, **target)
    async with daemon(*serve(config)) as running:
        await running.wait_until_served(r"poll\.finished.*collector=jobs")
        status, text = await running.get("/metrics")
        assert status == 200
        assert 'modelarts_up{project="vision"} 1' in text
        assert "modelarts_training_job_status{" in text
        assert (await running.get("/-/healthy"))[0] == 200
        assert (await running.get("/-/ready"))[0] == 200
        status, page = await running.get("/")
        assert status == 200
        assert "vision" in page


async def test_sigterm_stops_it_in_order(cloud: Simulator, tmp_path: Path) -> None:
    """SIGTERM stops polling and serving in order, with exit code 0."""
    async with daemon(*serve(write_config(tmp_path, cloud))) as running:
        await running.wait_for_log(r"poll\.finished.*collector=jobs")
        running.process.send_signal(signal.SIGTERM)
        assert await running.wait_for_exit() == 0
        assert "exporter.stopped" in "".join(running.lines)


async def test_it_serves_while_the_last_poll_ends(cloud: Simulator, tmp_path: Path) -> None:
    """After SIGTERM a hanging poll gets its grace period, and scrapes succeed until it ends."""
    cloud.faults.add(parse_fault("hang:operation=v?.*"))
    async with daemon(*serve(write_config(tmp_path, cloud, api="v2", project_id=PROJECT_ID))) as running:
        running.process.send_signal(signal.SIGTERM)
        await running.wait_for_log("exporter.stopping")
        assert (await running.get("/metrics"))[0] == 200
        assert await running.wait_for_exit() == 0


async def test_a_second_signal_ends_it_at_once(cloud: Simulator, tmp_path: Path) -> None:
    """A second signal does not wait for the poll."""
    cloud.faults.add(parse_fault("hang:operation=v?.*"))
    async with daemon(*serve(write_config(tmp_path, cloud, api="v2", project_id=PROJECT_ID))) as running:
        running.process.send_signal(signal.SIGINT)
        await running.wait_for_log("exporter.stopping")
        running.process.send_signal(signal.SIGINT)
        assert await running.wait_for_exit() == 128 + signal.SIGINT
        assert "exporter.stopped" not in "".join(running.lines)


async def test_it_starts_while_the_cloud_is_down_and_recovers(cloud: Simulator, tmp_path: Path) -> None:
    """With the API down, `serve` starts: up is 0 and it is ready. When the API is back, up is 1."""
    await cloud.go_down()
    async with daemon(*serve(write_config(tmp_path, cloud, api="v2", project_id=PROJECT_ID))) as running:
        await running.wait_until_served(r"poll\.failed.*collector=jobs.*outcome=unreachable")
        assert await running.values("modelarts_up") == {"project=vision": 0.0}
        assert (await running.get("/-/ready"))[0] == 200
        await cloud.come_back()
        await running.wait_until_served(r"poll\.finished.*collector=jobs")
        assert await running.values("modelarts_up") == {"project=vision": 1.0}


async def test_a_taken_port_is_one_sentence(cloud: Simulator, tmp_path: Path) -> None:
    """A port in use ends the start with exit code 1 and one sentence, before the first API call."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = write_config(tmp_path, cloud)
        code, out, err = await run_command(
            "serve", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"
        )
    assert (code, out) == (1, "")
    assert str(port) in err.splitlines()[-1]
    assert "Traceback" not in err
    assert len(cloud.requests) == 0


async def test_bad_settings_stop_the_start(tmp_path: Path) -> None:
    """All mistakes are reported at once, each in one sentence with its path; the exit code is 2."""
    config = tmp_path / "config.yaml"
    config.write_text(
        """
        targets:
        - {project: a, rate_limit: {burst: 0}, credentials: {type: aksk}}
        collection: {jobs_intervall: 30s}
        """,
        encoding="utf-8",
    )
    for command in ("serve", "check-config", "scrape"):
        code, out, err = await run_command(command, f"--config.file={config}", env={"PATH": ""})
        assert (code, out) == (2, "")
        assert "targets[0].rate_limit.burst: " in err
        assert "targets[0].credentials.access_key: " in err
        assert "collection.jobs_intervall: " in err
        assert "Traceback" not in err


@pytest.mark.parametrize("path", ["metrics", "/", "/-/ready"], ids=["relative", "the page's", "one of ours"])
async def test_a_path_that_cannot_be_served_stops_the_start(cloud: Simulator, tmp_path: Path, path: str) -> None:
    """One sentence that names the flag and exit code 2, before it listens."""
    code, out, err = await run_command(*serve(write_config(tmp_path, cloud)), f"--web.telemetry-path={path}")
    assert (code, out) == (2, "")
    assert f"'--web.telemetry-path' (env var: 'MODELARTS_EXPORTER_WEB_TELEMETRY_PATH'): '{path}' must begin" in err
    assert "Traceback" not in err


async def test_check_config_accepts_valid_settings(cloud: Simulator, tmp_path: Path) -> None:
    """A valid file: exit code 0, one line, no API call."""
    config = write_config(tmp_path, cloud)
    assert await run_command("check-config", f"--config.file={config}") == (0, f"{config}: valid, 1 target\n", "")
    assert len(cloud.requests) == 0


async def test_scrape_prints_the_number_of_calls(cloud: Simulator, tmp_path: Path) -> None:
    """`scrape` prints the exposition on stdout and the number of API calls on stderr."""
    code, out, err = await run_command("scrape", f"--config.file={write_config(tmp_path, cloud)}")
    assert code == 0
    assert 'modelarts_up{project="vision"} 1' in out
    cost = re.search(r"(\d+) API calls, (\d+) series; about (\d+) expected with finished jobs of 1d", err)
    assert cost is not None
    assert int(cost[1]) == len(cloud.requests)
    of_projects = ("modelarts_training", "modelarts_pool", "modelarts_quota")
    live = "modelarts_training_duplicate_jobs"  # about the project, computed at each scrape
    printed = [line for line in out.splitlines() if line.startswith(of_projects) and not line.startswith(live)]
    assert int(cost[2]) == len(printed) <= int(cost[3])


async def test_scrape_of_a_failing_project_fails(cloud: Simulator, tmp_path: Path) -> None:
    """When a project does not answer, the known data is printed and the exit code is 1."""
    await cloud.go_down()
    code, out, err = await run_command("scrape", f"--config.file={write_config(tmp_path, cloud)}")
    assert code == 1
    assert 'modelarts_up{project="vision"} 0' in out
    assert "unreachable" in err
    assert "retry" not in err  # retries are counted in the metrics; the log has one line for each poll


async def test_metrics_prints_the_catalogue() -> None:
    """The catalogue is printed as Markdown, equal to docs/metrics.md, or as JSON."""
    reference = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
    assert await run_command("metrics") == (0, reference.read_text(encoding="utf-8"), "")
    code, out, _ = await run_command("metrics", "--format=json")
    assert code == 0
    assert "modelarts_up" in json.dumps(json.loads(out))


async def test_the_demo_shows_both_generations() -> None:
    """After its first polls the demo has both generations, at least five statuses, usage and two projects."""
    async with daemon(
        "demo",
        "--web.listen-address=127.0.0.1:0",
        "--listen-address=127.0.0.1:0",
        "--log.format=logfmt",
        "--log.level=debug",
    ) as running:
        for _ in range(2):
            await running.wait_until_served(r"poll\.finished.*collector=usage")
        assert await running.values("modelarts_up") == {"project=speech": 1.0, "project=vision": 1.0}
        infos = await running.values("modelarts_training_job_info")
        assert {api for api in ("v1", "v2") if any(f"api={api}" in info for info in infos)} == {"v1", "v2"}
        statuses = {
            labels.rpartition("status=")[2] for labels in await running.values("modelarts_training_job_status")
        }
        assert len(statuses) >= 5
        assert await running.values("modelarts_training_job_accelerator_utilization_ratio")
        running.process.send_signal(signal.SIGINT)
        assert await running.wait_for_exit() == 0


async def test_the_demo_can_listen_everywhere() -> None:
    """Simulator and exporter listen on every interface, and the exporter reaches the simulator."""
    arguments = ("--web.listen-address=127.0.0.1:0", "--listen-address=:0", "--log.format=logfmt")
    async with daemon("demo", *arguments) as running:
        await running.wait_for_log(r"poll\.finished.*collector=jobs")
        running.process.send_signal(signal.SIGTERM)
        assert await running.wait_for_exit() == 0


async def test_simulate_says_how_to_reach_it() -> None:
    """`simulate` prints its address and credentials and ends on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "simulate",
        "--listen-address=127.0.0.1:0",
        "--jobs=3",
        "--fault=429:count=1",
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            address = (await process.stdout.readline()).decode()
            url = re.search(r"http://127\.0\.0\.1:\d+", address)
            assert url is not None
            async with aiohttp.ClientSession() as session, session.get(f"{url[0]}/simulator/") as answer:
                assert answer.status == 200
            process.send_signal(signal.SIGTERM)
            rest = (await process.stdout.read()).decode()
            assert await process.wait() == 0
        assert PROJECT_ID in rest
        assert ACCESS_KEY in rest
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        pytest.param(["simulate", "--quirk=no-such"], "no-such", id="quirk"),
        pytest.param(["simulate", "--fault=no-such"], "no-such", id="fault"),
        pytest.param(["simulate", "--listen-address=nowhere"], "nowhere", id="address"),
        pytest.param(["serve"], "--config.file", id="no-config"),
        pytest.param(["serve", "--config.file=/does/not/exist"], "/does/not/exist", id="missing-file"),
        pytest.param(["serve", "--config.file=x", "--log.level=loud"], "loud", id="level"),
        pytest.param(["frobnicate"], "frobnicate", id="command"),
    ],
)
async def test_wrong_usage_is_two(arguments: list[str], sentence: str) -> None:
    """Wrong usage ends with exit code 2 and names the mistake."""
    code, _, err = await run_command(*arguments)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_with_an_example(name: str) -> None:
    """`--help` of each command has a description and an example."""
    command = main.commands[name]
    assert command.help
    assert command.epilog is not None
    assert f"modelarts-exporter {name}" in command.epilog
