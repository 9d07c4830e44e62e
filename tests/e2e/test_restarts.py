"""SIGKILL of the real process at any moment while jobs change: no job is lost and none is counted twice."""

import asyncio
import json
import random
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from exporter.polling.statefile import VERSION
from exporter.simulator import Options, Simulator
from tests.e2e.endurance import (
    STATIC_WORLD,
    CounterMonitor,
    ServeProcess,
    WorldDriver,
    document,
    exported_accelerator_seconds,
    exported_totals,
    label_value,
    serve_process,
    totals_gained,
    true_accelerator_seconds,
    true_totals,
    write,
)
from tests.programs import until

ROUNDS = 16

JOBS_POLL = r"poll\.finished.*collector=jobs"


async def wait_for_draft(state: Path) -> None:
    """Wait until the state file is being written."""
    draft = state.with_name(f".{state.name}.draft")
    while not draft.exists():  # noqa: ASYNC110 - the file of another process has no event
        await asyncio.sleep(0.0005)


async def watch_and_kill(
    exporter: ServeProcess, monitor: CounterMonitor, *, state: Path, dice: random.Random, aim: bool
) -> None:
    """Scrape a running exporter, then kill it during its first polls or, with `aim`, while it writes the state."""
    watching = asyncio.create_task(monitor.watch(exporter))
    await asyncio.sleep(dice.uniform(0.0, 1.2))
    if aim:
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                await wait_for_draft(state)
    await exporter.kill()
    await watching


@pytest.mark.timeout(600)  # sixteen starts of a process, on a machine that may be busy
@pytest.mark.endurance
async def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """After 16 kills, half of them during a write of the state, the totals equal the ground truth.

    They include jobs that started and ended between two processes. No scrape shows a counter that decreased.
    """
    state = tmp_path / "state.json"
    dice = random.Random(20)
    monitor = CounterMonitor()
    async with Simulator(STATIC_WORLD) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        driver = WorldDriver(cloud, per_s=15, seed=4)
        driver.advance(5)
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            seeded, held = true_totals(cloud), true_accelerator_seconds(cloud)
        driving = asyncio.create_task(driver.run())
        for number in range(ROUNDS):
            async with serve_process(config) as exporter:
                await watch_and_kill(exporter, monitor, state=state, dice=dice, aim=number % 2 == 0)
            assert exporter.count("state.set_aside") == 0
        driving.cancel()
        driver.drain()
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            for _ in range(12):  # v1 withholds accelerator seconds until it knows the user, for at most ten polls
                await exporter.wait_until_served(JOBS_POLL, since=len(exporter.lines))
            text = await exporter.text()
        monitor.check(text)

        assert exported_totals(text) == totals_gained(true_totals(cloud), seeded)
        for key, seconds in true_accelerator_seconds(cloud).items():
            assert exported_accelerator_seconds(text)[key] == pytest.approx(
                seconds - held[key], abs=0.1
            )  # the API rounds each time to a millisecond
        assert sum(seeded.submitted.values()) > 0  # jobs before the first poll do not count
        assert sum(exported_totals(text).finished.values()) > 20 * ROUNDS
        assert monitor.scrapes > ROUNDS


WRITTEN = "modelarts_exporter_state_last_write_successful"


async def test_jobs_that_ended_while_it_was_down_are_counted(tmp_path: Path) -> None:
    """Jobs that ended while the exporter was down are counted and shown, seen running before or not."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            seen = cloud.world.submit("seen", pool="a100")
            cloud.world.start(seen)
            line = len(exporter.lines)
            await exporter.wait_until_served(rf"{JOBS_POLL} jobs=1", since=line)
        cloud.world.fail(seen, exit_code=137)
        unseen = cloud.world.submit("unseen")
        cloud.world.start(unseen)
        cloud.world.complete(unseen)
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            text = await exporter.text()
            statuses = await exporter.samples("modelarts_training_job_status")
        counted = exported_totals(text)
        assert counted.submitted == counted.started == {"a100": 1, "": 1}
        assert counted.finished == {("a100", "failed"): 1, ("", "completed"): 1}
        assert {(label_value(labels, "job_id"), label_value(labels, "status")) for labels in statuses} == {
            (seen.id, "failed"),
            (unseen.id, "completed"),
        }


async def test_a_restart_while_the_api_is_down_keeps_totals(tmp_path: Path) -> None:
    """The restored totals are exported at once and up is 0. After another kill, with the API back, they continue."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            cloud.world.submit("a")
            line = len(exporter.lines)
            await exporter.wait_until_served(rf"{JOBS_POLL} jobs=1", since=line)
        await cloud.go_down()
        cloud.world.submit("b")
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(r"poll\.failed.*collector=jobs")
            assert exported_totals(await exporter.text()).submitted == {"": 1}
            assert list((await exporter.samples("modelarts_up")).values()) == [0]
        await cloud.come_back()
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            assert exported_totals(await exporter.text()).submitted == {"": 2}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"version":1,"projects":{"vision":{"origin":"htt', id="truncated"),
        pytest.param(b"\x00" * 4096, id="zeros-after-a-power-cut"),
        pytest.param(json.dumps({"version": VERSION + 1, "projects": []}).encode(), id="newer"),
    ],
)
async def test_an_invalid_state_is_renamed(tmp_path: Path, content: bytes) -> None:
    """The start continues with one warning. The file is kept under another name and a valid one is written."""
    state = tmp_path / "state.json"
    state.write_bytes(content)
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            assert list((await exporter.samples("modelarts_up")).values()) == [1]
            match = await exporter.wait_for_log(
                r"level=warn.*state\.set_aside.*cannot be used.*(state\.json\.set-aside-\d+)"
            )
            assert exporter.count("state.set_aside") == 1
    assert (tmp_path / match[1]).read_bytes() == content
    assert json.loads(state.read_text(encoding="utf-8"))["version"] == VERSION


def obstructed(draft: Path, obstacle: str) -> bool:
    """Create an obstacle at the path of the draft. False while a write has its draft there."""
    try:
        draft.symlink_to("/dev/full") if obstacle == "full-disk" else draft.mkdir()
    except FileExistsError:
        return False
    return True


@pytest.mark.parametrize("obstacle", ["folder", "full-disk"])
async def test_a_state_that_cannot_be_written_stops_nothing(tmp_path: Path, obstacle: str) -> None:
    """Polls and scrapes continue, a metric is 0, the log has one error. When writing works again, all is saved."""
    state = tmp_path / "state.json"
    draft = tmp_path / ".state.json.draft"
    async with Simulator(Options(empty=True)) as cloud:
        async with serve_process(write(tmp_path / "config.yaml", document(cloud, state=state))) as exporter:
            await exporter.wait_until_served(JOBS_POLL)
            assert await exporter.samples(WRITTEN) == {"": 1}
            obstruct = partial(asyncio.to_thread, obstructed, draft, obstacle)
            await until(obstruct, "the path of the draft is free between two writes")
            await exporter.wait_for_log(r"level=error.*state\.not_written")
            cloud.world.submit("meanwhile")
            for _ in range(2):
                await exporter.wait_until_served(rf"{JOBS_POLL} jobs=1", since=len(exporter.lines))
            assert exported_totals(await exporter.text()).submitted == {"": 1}
            assert await exporter.samples(WRITTEN) == {"": 0}
            assert exporter.count("state.not_written") == 1
            draft.unlink() if obstacle == "full-disk" else draft.rmdir()
            await exporter.wait_for_log(r"state\.written_again")
            await exporter.wait_until_served(JOBS_POLL, since=len(exporter.lines))
            assert await exporter.samples(WRITTEN) == {"": 1}
            polls = exporter.count(r"poll\.finished")
            # Each publication follows one write. The first one has no write.
            assert exporter.count(r"snapshot\.published") <= polls + 1
        counts = json.loads(state.read_text(encoding="utf-8"))["projects"]["vision"]["counts"]
        assert {pool: count for pool, count in counts["submitted"].items() if count} == {"": 1}


async def test_a_state_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    """Continuing would overwrite it: exit code 1 and one sentence, before the first API call."""
    state = tmp_path / "state.json"
    state.mkdir()
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "exporter",
            "serve",
            f"--config.file={config}",
            "--web.listen-address=127.0.0.1:0",
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
        assert process.returncode == 1
        assert b"state.json" in err.splitlines()[-1]
        assert b"Traceback" not in err
        assert len(cloud.requests) == 0
