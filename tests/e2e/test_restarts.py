"""`kill -9` of the real program, at any moment, while jobs come and go: nothing is lost and nothing counts twice."""

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
    STILL,
    Living,
    Tide,
    Watcher,
    counted_by_the_cloud,
    counted_by_us,
    document,
    held_by_us,
    held_in,
    label,
    living,
    since,
    write,
)
from tests.programs import until

ROUNDS = 16

JOBS_POLL = r"poll\.finished.*collector=jobs"


async def draft_is_there(state: Path) -> None:
    """Wait for the moment in which the state is being written."""
    draft = state.with_name(f".{state.name}.draft")
    while not draft.exists():  # noqa: ASYNC110 - nobody tells when a file of another process comes into being
        await asyncio.sleep(0.0005)


async def watch_and_kill(exporter: Living, watcher: Watcher, *, state: Path, dice: random.Random, aim: bool) -> None:
    """Scrape a running exporter until it is killed: somewhere in its first polls, or while it writes."""
    watching = asyncio.create_task(watcher.watch(exporter))
    await asyncio.sleep(dice.uniform(0.0, 1.2))
    if aim:
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                await draft_is_there(state)
    await exporter.kill()
    await watching


@pytest.mark.timeout(600)  # sixteen starts of a process, on a machine that may be busy
async def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """After many kills, every second one in the middle of a write, the totals are the cloud's own to the last job.

    Jobs that came and ended while nobody watched are among them; and no scrape ever showed a counter go back.
    """
    state = tmp_path / "state.json"
    dice = random.Random(20)
    watcher = Watcher()
    async with Simulator(STILL) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        tide = Tide(cloud, per_s=15, seed=4)
        tide.advance(5)
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            seeded, held = counted_by_the_cloud(cloud), held_in(cloud)
        flowing = asyncio.create_task(tide.flow())
        for number in range(ROUNDS):
            async with living(config) as exporter:
                await watch_and_kill(exporter, watcher, state=state, dice=dice, aim=number % 2 == 0)
            assert exporter.count("state.set_aside") == 0
        flowing.cancel()
        tide.ebb()
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            for _ in range(12):  # seconds of v1 wait for the user's name, for ten looks at most
                await exporter.showed(JOBS_POLL, since=len(exporter.lines))
            text = await exporter.text()
        watcher.take(text)

        assert counted_by_us(text) == since(counted_by_the_cloud(cloud), seeded)
        for key, seconds in held_in(cloud).items():
            assert held_by_us(text)[key] == pytest.approx(seconds - held[key], abs=0.1)  # sums of many milliseconds
        assert sum(seeded.submitted.values()) > 0  # there were jobs before the first look, and they do not count
        assert sum(counted_by_us(text).finished.values()) > 20 * ROUNDS
        assert watcher.scrapes > ROUNDS


WRITTEN = "modelarts_exporter_state_last_write_successful"


async def test_what_ended_while_it_was_down_is_told(tmp_path: Path) -> None:
    """A job that failed while the exporter was down, and one nobody ever saw running, are counted and shown."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            seen = cloud.world.submit("seen", pool="a100")
            cloud.world.start(seen)
            told = len(exporter.lines)
            await exporter.showed(rf"{JOBS_POLL} jobs=1", since=told)
        cloud.world.fail(seen, exit_code=137)
        unseen = cloud.world.submit("unseen")
        cloud.world.start(unseen)
        cloud.world.complete(unseen)
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            text = await exporter.text()
            statuses = await exporter.samples("modelarts_training_job_status")
        counted = counted_by_us(text)
        assert counted.submitted == counted.started == {"a100": 1, "": 1}
        assert counted.finished == {("a100", "failed"): 1, ("", "completed"): 1}
        assert {(label(labels, "job_id"), label(labels, "status")) for labels in statuses} == {
            (seen.id, "failed"),
            (unseen.id, "completed"),
        }


async def test_a_restart_while_the_cloud_is_down_forgets_nothing(tmp_path: Path) -> None:
    """The totals are shown at once, up is 0; killed once more, and with the cloud back, it goes on from them."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            cloud.world.submit("a")
            told = len(exporter.lines)
            await exporter.showed(rf"{JOBS_POLL} jobs=1", since=told)
        await cloud.go_down()
        cloud.world.submit("b")
        async with living(config) as exporter:
            await exporter.showed(r"poll\.failed.*collector=jobs")
            assert counted_by_us(await exporter.text()).submitted == {"": 1}
            assert list((await exporter.samples("modelarts_up")).values()) == [0]
        await cloud.come_back()
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            assert counted_by_us(await exporter.text()).submitted == {"": 2}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"version":1,"projects":{"vision":{"origin":"htt', id="truncated"),
        pytest.param(b"\x00" * 4096, id="zeros-after-a-power-cut"),
        pytest.param(json.dumps({"version": VERSION + 1, "projects": []}).encode(), id="newer"),
    ],
)
async def test_a_state_nobody_understands_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """The start goes on with one warning; the bytes are kept under another name, and a good file is written."""
    state = tmp_path / "state.json"
    state.write_bytes(content)
    async with Simulator(Options(empty=True)) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            assert list((await exporter.samples("modelarts_up")).values()) == [1]
            told = await exporter.said(r"level=warn.*state\.set_aside.*cannot be used.*(state\.json\.set-aside-\d+)")
            assert exporter.count("state.set_aside") == 1
    assert (tmp_path / told[1]).read_bytes() == content
    assert json.loads(state.read_text(encoding="utf-8"))["version"] == VERSION


def obstructed(draft: Path, obstacle: str) -> bool:
    """Put something in the draft's place, unless a write has it there right now."""
    try:
        draft.symlink_to("/dev/full") if obstacle == "full-disk" else draft.mkdir()
    except FileExistsError:
        return False
    return True


@pytest.mark.parametrize("obstacle", ["folder", "full-disk"])
async def test_a_state_that_cannot_be_written_stops_nothing(tmp_path: Path, obstacle: str) -> None:
    """Polls and scrapes go on, a metric says 0, the log says it once; when there is room again, all is written."""
    state = tmp_path / "state.json"
    draft = tmp_path / ".state.json.draft"
    async with Simulator(Options(empty=True)) as cloud:
        async with living(write(tmp_path / "config.yaml", document(cloud, state=state))) as exporter:
            await exporter.showed(JOBS_POLL)
            assert await exporter.samples(WRITTEN) == {"": 1}
            obstruct = partial(asyncio.to_thread, obstructed, draft, obstacle)
            await until(obstruct, "the draft's place is free between two writes")
            await exporter.said(r"level=error.*state\.not_written")
            cloud.world.submit("meanwhile")
            for _ in range(2):
                await exporter.showed(rf"{JOBS_POLL} jobs=1", since=len(exporter.lines))
            assert counted_by_us(await exporter.text()).submitted == {"": 1}
            assert await exporter.samples(WRITTEN) == {"": 0}
            assert exporter.count("state.not_written") == 1
            draft.unlink() if obstacle == "full-disk" else draft.rmdir()
            await exporter.said(r"state\.written_again")
            await exporter.showed(JOBS_POLL, since=len(exporter.lines))
            assert await exporter.samples(WRITTEN) == {"": 1}
            polls = exporter.count(r"poll\.finished")
            assert (
                exporter.count(r"snapshot\.published") <= polls + 1
            )  # each follows one write; the first comes before
        counts = json.loads(state.read_text(encoding="utf-8"))["projects"]["vision"]["counts"]
        assert counts["submitted"] == {"": 1}


async def test_a_state_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    """To go on would be to overwrite it: exit 1 and one sentence, before anything is asked of the cloud."""
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
        _, told = await process.communicate()
        assert process.returncode == 1
        assert b"state.json" in told.splitlines()[-1]
        assert b"Traceback" not in told
        assert len(cloud.requests) == 0
