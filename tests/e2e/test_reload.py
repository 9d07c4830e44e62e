"""Changed settings under a running daemon, by SIGHUP and by POST: what takes over, and what must not be touched."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics.exposition.exposition import LIVE_MAX_AGE_S
from exporter.simulator import PROJECT_ID, Options, ProjectOptions, Simulator
from tests.e2e.endurance import document, living, target, write
from tests.e2e.introspection import inside, until

OTHER_ID = "51a70000000000000000000000000002"
SUBMITTED = "modelarts_training_jobs_submitted_total"
RELOADED = "modelarts_exporter_config_last_reload_successful"
RARELY = {"jobs_interval": "1h", "usage_interval": "1h", "pools_interval": "1h", "stale_after": "2h"}


@pytest.fixture
async def cloud() -> AsyncIterator[Simulator]:
    """Two empty projects, on the machine's clock."""
    projects = (ProjectOptions(), ProjectOptions(id=OTHER_ID, name="eu-de_other"))
    async with Simulator(Options(empty=True, projects=projects)) as cloud:
        yield cloud


def speech(cloud: Simulator, **keys: Any) -> dict[str, Any]:
    """A second target."""
    return target(cloud, project="speech", project_id=OTHER_ID, **keys)


def asked(cloud: Simulator, project_id: str) -> int:
    """How many calls there were about one project."""
    return sum(project_id in request.path for request in cloud.requests)


async def test_a_new_target_appears_and_the_others_are_not_asked(cloud: Simulator, tmp_path: Path) -> None:
    """A target that is added is polled at once; one that did not change keeps its jobs, at no call."""
    settings = document(cloud, collection=RARELY)
    config = write(tmp_path / "config.yaml", settings)
    job = cloud.world.submit("old")
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_collector_up", 4)
        before = asked(cloud, PROJECT_ID)
        cloud.world.submit("new", project=OTHER_ID)
        settings["targets"].append(speech(cloud))
        write(config, settings)
        assert await exporter.reload() == (200, "reloaded")
        await exporter.becomes("modelarts_up", 2)
        assert len(await exporter.samples("modelarts_training_job_info", having='"speech"')) == 1
        assert list(await exporter.samples("modelarts_training_job_status", having=job.id))
        assert asked(cloud, PROJECT_ID) == before


async def test_the_same_file_again_does_nothing(cloud: Simulator, tmp_path: Path) -> None:
    """Reloading what is in force already asks the cloud nothing, secrets and filters in it included."""
    secret = tmp_path / "sk"
    secret.write_text(str(target(cloud)["credentials"]["secret_key"]), encoding="utf-8")
    keys = {**target(cloud)["credentials"], "secret_key": f"${{file:{secret}}}"}
    filters = {"names": "b.*", "exclude_names": "x", "pools": ["a"]}
    settings = document(cloud, collection=RARELY, target={"credentials": keys, "filters": filters})
    async with inside(write(tmp_path / "config.yaml", settings)) as exporter:
        await exporter.becomes("modelarts_collector_up", 4)
        before = len(cloud.requests)
        assert (await exporter.reload())[0] == 200
        assert (await exporter.reload())[0] == 200
        assert len(cloud.requests) == before
        assert await exporter.value("modelarts_up") == 1


async def test_a_removed_target_vanishes(cloud: Simulator, tmp_path: Path) -> None:
    """When the answer is out no series names a removed target, our own ones included, and none comes back."""
    settings = document(cloud)
    settings["targets"].append(speech(cloud))
    config = write(tmp_path / "config.yaml", settings)
    cloud.world.submit("bert", project=OTHER_ID)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 2)
        assert await exporter.value("modelarts_exporter_api_requests_total", having='"speech"') > 0
        del settings["targets"][1]
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        assert '"speech"' not in await exporter.text()
        before, now = asked(cloud, OTHER_ID), asked(cloud, PROJECT_ID)
        await until(lambda: asked(cloud, PROJECT_ID) > now)  # the other one is still polled
        assert asked(cloud, OTHER_ID) == before
        assert '"speech"' not in await exporter.text()


async def test_a_changed_interval_takes_effect(cloud: Simulator, tmp_path: Path) -> None:
    """From an hour to a second: polls follow each other at once, and nothing is seeded anew."""
    settings = document(cloud, collection=RARELY)
    config = write(tmp_path / "config.yaml", settings)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 1)
        settings["collection"]["jobs_interval"] = "1s"
        cloud.world.submit("while it reloads")
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        await exporter.becomes(SUBMITTED, 1)
        cloud.world.submit("later")
        await exporter.becomes(SUBMITTED, 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"filters": {"names": "b.*"}}, id="filter"),
        pytest.param({"rate_limit": {"requests_per_second": 100}}, id="rate"),
        pytest.param({"api": "v2"}, id="api"),
    ],
)
async def test_a_changed_target_keeps_its_counters(
    cloud: Simulator, tmp_path: Path, change: dict[str, dict[str, object]]
) -> None:
    """What was counted goes on from where it was, and a job that came in between is counted, not taken for old."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 1)
        first = cloud.world.submit("bert")
        await exporter.becomes(SUBMITTED, 1)
        settings["targets"] = [target(cloud, **change)]
        write(config, settings)
        cloud.world.start(first)
        cloud.world.fail(first)
        cloud.world.submit("bloom")
        assert (await exporter.reload())[0] == 200
        assert await exporter.value(SUBMITTED) >= 1
        await exporter.becomes(SUBMITTED, 2)
        await exporter.becomes("modelarts_training_jobs_finished_total", 1)
        assert await exporter.value("modelarts_training_jobs_finished_total", having='"failed"') == 1


async def test_another_project_under_the_same_name_keeps_the_totals(cloud: Simulator, tmp_path: Path) -> None:
    """The label goes on counting, so it must not go back; but the jobs are the other project's from now on."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    there = cloud.world.submit("there", project=OTHER_ID)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 1)
        here = cloud.world.submit("here")
        await exporter.becomes(SUBMITTED, 1)
        settings["targets"] = [target(cloud, project_id=OTHER_ID)]
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        text = await exporter.text()
        assert here.id not in text
        assert await exporter.value(SUBMITTED) == 1
        await exporter.becomes("modelarts_training_job_status", 1, having=there.id)
        assert await exporter.value(SUBMITTED) == 1


async def test_labels_change_at_once(cloud: Simulator, tmp_path: Path) -> None:
    """Labels copied on to every job series are there when the answer is out, without asking the cloud."""
    cloud.world.submit("bert")
    settings = document(cloud, collection=RARELY)
    config = write(tmp_path / "config.yaml", settings)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_collector_up", 4)
        assert not await exporter.samples("modelarts_training_job_status", having='job_name="bert"')
        before = len(cloud.requests)
        settings["metrics"] = {"job_labels": ["job_name"]}
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        assert len(await exporter.samples("modelarts_training_job_status", having='job_name="bert"')) == 1
        assert len(cloud.requests) == before


async def test_a_bad_file_changes_nothing(cloud: Simulator, tmp_path: Path) -> None:
    """400 with every sentence; a metric says 0, polls go on as before, and after a good file it says 1."""
    settings = document(cloud)
    good = json.dumps(settings)
    config = write(tmp_path / "config.yaml", settings)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 1)
        assert await exporter.value(RELOADED) == 1
        settings["collection"]["jobs_intervall"] = "2s"
        settings["targets"][0]["rate_limit"]["burst"] = 0
        write(config, settings)
        status, sentences = await exporter.reload()
        assert status == 400
        assert "collection.jobs_intervall: " in sentences
        assert "targets[0].rate_limit.burst: " in sentences
        await exporter.becomes(RELOADED, 0)
        cloud.world.submit("bert")
        await exporter.becomes(SUBMITTED, 1)
        config.write_text(good, encoding="utf-8")
        assert (await exporter.reload())[0] == 200
        await exporter.becomes(RELOADED, 1)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"targets: [", None], ids=["empty", "bytes", "yaml", "gone"])
async def test_a_file_that_is_none_is_refused(cloud: Simulator, tmp_path: Path, content: bytes | None) -> None:
    """Half-written, unreadable or missing: 400 and a sentence, never a defect."""
    config = write(tmp_path / "config.yaml", document(cloud))
    async with inside(config) as exporter:
        config.unlink() if content is None else config.write_bytes(content)
        status, sentence = await exporter.reload()
        assert status == 400
        assert sentence
        assert "the log tells why" not in sentence
        await exporter.becomes(RELOADED, 0)


async def test_a_target_that_cannot_be_opened_is_refused(cloud: Simulator, tmp_path: Path) -> None:
    """A CA file that is missing refuses the whole reload: the new target leaves no trace, the old one goes on."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 1)
        settings["targets"].append(speech(cloud, tls={"ca_file": str(tmp_path / "missing.pem")}))
        write(config, settings)
        status, sentence = await exporter.reload()
        assert status == 400
        assert "missing.pem" in sentence
        assert '"speech"' not in await exporter.text()
        await exporter.becomes(RELOADED, 0)
        cloud.world.submit("bert")
        await exporter.becomes(SUBMITTED, 1)


async def test_the_state_file_cannot_be_changed(cloud: Simulator, tmp_path: Path) -> None:
    """Where the state is kept is decided at the start; a reload that wants it elsewhere is refused as a whole."""
    config = write(tmp_path / "config.yaml", document(cloud, state=tmp_path / "a.json"))
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 1)
        write(config, document(cloud, state=tmp_path / "b.json"))
        status, sentence = await exporter.reload()
        assert (status, "state.file" in sentence) == (400, True)
        await exporter.becomes(RELOADED, 0)
    assert not (tmp_path / "b.json").exists()


async def test_reloads_while_a_poll_hangs(cloud: Simulator, tmp_path: Path) -> None:
    """A hanging poll gets its grace, meanwhile no state is written without its project; a second reload waits.

    So the newest file wins, and the first poll of the new settings comes at once.
    """
    state = tmp_path / "state.json"
    settings = document(cloud, state=state, collection={"timeout": "30s", "stale_after": "5m"})
    settings["targets"].append(speech(cloud))
    config = write(tmp_path / "config.yaml", settings)
    async with inside(config) as exporter:
        await exporter.becomes("modelarts_up", 2)
        cloud.world.submit("bert")
        await exporter.becomes(SUBMITTED, 1)
        hang = cloud.faults.add(f"hang:path=*{PROJECT_ID}*")
        await until(lambda: hang.hits > 0)
        settings["targets"][0]["filters"] = {"names": "first"}
        write(config, settings)
        first = asyncio.create_task(exporter.reload())
        written = set()
        begun = asked(cloud, OTHER_ID)
        await until(lambda: asked(cloud, OTHER_ID) > begun)  # the other project's poll ends and is published
        settings["targets"][0]["filters"] = {"names": "second"}
        write(config, settings)
        second = asyncio.create_task(exporter.reload())
        while not first.done():
            projects = json.loads(state.read_text())["projects"]
            written.add((tuple(sorted(projects)), projects["vision"]["counts"]["submitted"][""]))
            await asyncio.sleep(0.02)
        cloud.faults.clear()
        assert await first == (200, "reloaded")
        assert await second == (200, "reloaded")
        assert written == {(("speech", "vision"), 1)}
        cloud.world.submit("second")
        await exporter.becomes(SUBMITTED, 2)
        await exporter.becomes("modelarts_training_job_info", 1, having='"second"')
        assert not await exporter.samples("modelarts_training_job_info", having='"bert"')


async def test_without_lifecycle_only_the_signal_reloads(cloud: Simulator, tmp_path: Path) -> None:
    """The path is 404 unless it was asked for; SIGHUP reloads the real program all the same, good file and bad."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    async with living(config) as exporter:
        assert (await exporter.post("/-/reload"))[0] == 404
        settings["targets"].append(speech(cloud))
        write(config, settings)
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.said(r"config\.reloaded")
        await exporter.showed(r"poll\.finished.*project=speech collector=jobs")
        assert (await exporter.samples("modelarts_up")).keys() == {'project="speech"', 'project="vision"'}
        config.write_text("targets: 7", encoding="utf-8")
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.said(r"config\.refused.*targets")
        await asyncio.sleep(LIVE_MAX_AGE_S)  # for so long a scrape may be told what the one before was told
        assert await exporter.samples(RELOADED) == {"": 0}
        write(config, settings)
        told = len(exporter.lines)
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.said(r"config\.reloaded", since=told)
        await asyncio.sleep(LIVE_MAX_AGE_S)
        assert await exporter.samples(RELOADED) == {"": 1}
