"""Reloads of a running daemon, by SIGHUP and by POST: what changes and what must stay as it was."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exporter.metrics.exposition.exposition import LIVE_MAX_AGE_S
from exporter.simulator import PROJECT_ID, Options, ProjectOptions, Simulator
from tests.e2e.endurance import document, serve_process, target, write
from tests.e2e.introspection import in_process_daemon, wait_until

OTHER_ID = "51a70000000000000000000000000002"
SUBMITTED = "modelarts_training_jobs_submitted_total"
RELOADED = "modelarts_exporter_config_last_reload_successful"
RARELY = {"jobs_interval": "1h", "usage_interval": "1h", "pools_interval": "1h", "stale_after": "2h"}


@pytest.fixture
async def cloud() -> AsyncIterator[Simulator]:
    """Two empty projects on the machine's clock."""
    projects = (ProjectOptions(), ProjectOptions(id=OTHER_ID, name="eu-de_other"))
    async with Simulator(Options(empty=True, projects=projects)) as cloud:
        yield cloud


def speech(cloud: Simulator, **keys: Any) -> dict[str, Any]:
    """A second target."""
    return target(cloud, project="speech", project_id=OTHER_ID, **keys)


def calls_for(cloud: Simulator, project_id: str) -> int:
    """Number of API calls for one project."""
    return sum(project_id in request.path for request in cloud.requests)


async def test_a_new_target_is_added_without_calls_for_the_others(cloud: Simulator, tmp_path: Path) -> None:
    """An added target is polled at once. An unchanged one keeps its jobs and makes no call."""
    settings = document(cloud, collection=RARELY)
    config = write(tmp_path / "config.yaml", settings)
    job = cloud.world.submit("old")
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_collector_up", 4)
        before = calls_for(cloud, PROJECT_ID)
        cloud.world.submit("new", project=OTHER_ID)
        settings["targets"].append(speech(cloud))
        write(config, settings)
        assert await exporter.reload() == (200, "reloaded")
        await exporter.wait_for_value("modelarts_up", 2)
        assert len(await exporter.samples("modelarts_training_job_info", having='"speech"')) == 1
        assert list(await exporter.samples("modelarts_training_job_status", having=job.id))
        assert calls_for(cloud, PROJECT_ID) == before


async def test_the_same_file_again_does_nothing(cloud: Simulator, tmp_path: Path) -> None:
    """A reload without a change makes no API call, with secrets and filters too."""
    secret = tmp_path / "sk"
    secret.write_text(str(target(cloud)["credentials"]["secret_key"]), encoding="utf-8")
    keys = {**target(cloud)["credentials"], "secret_key": f"${{file:{secret}}}"}
    filters = {"names": "b.*", "exclude_names": "x", "pools": ["a"]}
    settings = document(cloud, collection=RARELY, target={"credentials": keys, "filters": filters})
    async with in_process_daemon(write(tmp_path / "config.yaml", settings)) as exporter:
        await exporter.wait_for_value("modelarts_collector_up", 4)
        before = len(cloud.requests)
        assert (await exporter.reload())[0] == 200
        assert (await exporter.reload())[0] == 200
        assert len(cloud.requests) == before
        assert await exporter.value("modelarts_up") == 1


async def test_a_removed_target_disappears(cloud: Simulator, tmp_path: Path) -> None:
    """After the response no series has the removed target, self-metrics included, and none returns."""
    settings = document(cloud)
    settings["targets"].append(speech(cloud))
    config = write(tmp_path / "config.yaml", settings)
    cloud.world.submit("bert", project=OTHER_ID)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 2)
        assert await exporter.value("modelarts_exporter_api_requests_total", having='"speech"') > 0
        del settings["targets"][1]
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        assert '"speech"' not in await exporter.text()
        before, now = calls_for(cloud, OTHER_ID), calls_for(cloud, PROJECT_ID)
        await wait_until(lambda: calls_for(cloud, PROJECT_ID) > now)  # the other one is still polled
        assert calls_for(cloud, OTHER_ID) == before
        assert '"speech"' not in await exporter.text()


async def test_a_changed_interval_takes_effect(cloud: Simulator, tmp_path: Path) -> None:
    """From an hour to a second: polls follow at once and jobs submitted meanwhile count."""
    settings = document(cloud, collection=RARELY)
    config = write(tmp_path / "config.yaml", settings)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 1)
        settings["collection"]["jobs_interval"] = "1s"
        cloud.world.submit("while it reloads")
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        await exporter.wait_for_value(SUBMITTED, 1)
        cloud.world.submit("later")
        await exporter.wait_for_value(SUBMITTED, 2)


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
    """Totals continue, and a job submitted during the reload counts as new."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 1)
        first = cloud.world.submit("bert")
        await exporter.wait_for_value(SUBMITTED, 1)
        settings["targets"] = [target(cloud, **change)]
        write(config, settings)
        cloud.world.start(first)
        cloud.world.fail(first)
        cloud.world.submit("bloom")
        assert (await exporter.reload())[0] == 200
        assert await exporter.value(SUBMITTED) >= 1
        await exporter.wait_for_value(SUBMITTED, 2)
        await exporter.wait_for_value("modelarts_training_jobs_finished_total", 1)
        assert await exporter.value("modelarts_training_jobs_finished_total", having='"failed"') == 1


async def test_another_project_under_the_same_name_keeps_the_totals(cloud: Simulator, tmp_path: Path) -> None:
    """The totals of a label value must not decrease; the jobs are those of the new project."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    there = cloud.world.submit("there", project=OTHER_ID)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 1)
        here = cloud.world.submit("here")
        await exporter.wait_for_value(SUBMITTED, 1)
        settings["targets"] = [target(cloud, project_id=OTHER_ID)]
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        text = await exporter.text()
        assert here.id not in text
        assert await exporter.value(SUBMITTED) == 1
        await exporter.wait_for_value("modelarts_training_job_status", 1, having=there.id)
        assert await exporter.value(SUBMITTED) == 1


async def test_labels_change_at_once(cloud: Simulator, tmp_path: Path) -> None:
    """Labels copied to job series are there after the response, without an API call."""
    cloud.world.submit("bert")
    settings = document(cloud, collection=RARELY)
    config = write(tmp_path / "config.yaml", settings)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_collector_up", 4)
        assert not await exporter.samples("modelarts_training_job_status", having='job_name="bert"')
        before = len(cloud.requests)
        settings["metrics"] = {"job_labels": ["job_name"]}
        write(config, settings)
        assert (await exporter.reload())[0] == 200
        assert len(await exporter.samples("modelarts_training_job_status", having='job_name="bert"')) == 1
        assert len(cloud.requests) == before


async def test_a_bad_file_changes_nothing(cloud: Simulator, tmp_path: Path) -> None:
    """400 with every sentence, a metric is 0, polls continue; after a valid file the metric is 1."""
    settings = document(cloud)
    good = json.dumps(settings)
    config = write(tmp_path / "config.yaml", settings)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 1)
        assert await exporter.value(RELOADED) == 1
        settings["collection"]["jobs_intervall"] = "2s"
        settings["targets"][0]["rate_limit"]["burst"] = 0
        write(config, settings)
        status, sentences = await exporter.reload()
        assert status == 400
        assert "collection.jobs_intervall: " in sentences
        assert "targets[0].rate_limit.burst: " in sentences
        await exporter.wait_for_value(RELOADED, 0)
        cloud.world.submit("bert")
        await exporter.wait_for_value(SUBMITTED, 1)
        config.write_text(good, encoding="utf-8")
        assert (await exporter.reload())[0] == 200
        await exporter.wait_for_value(RELOADED, 1)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"targets: [", None], ids=["empty", "bytes", "yaml", "gone"])
async def test_an_unusable_file_is_refused(cloud: Simulator, tmp_path: Path, content: bytes | None) -> None:
    """An empty, unreadable, invalid or missing file: 400 and a sentence, no defect."""
    config = write(tmp_path / "config.yaml", document(cloud))
    async with in_process_daemon(config) as exporter:
        config.unlink() if content is None else config.write_bytes(content)
        status, sentence = await exporter.reload()
        assert status == 400
        assert sentence
        assert "the log tells why" not in sentence
        await exporter.wait_for_value(RELOADED, 0)


async def test_a_target_that_cannot_be_opened_is_refused(cloud: Simulator, tmp_path: Path) -> None:
    """A missing CA file refuses the whole reload: no series of the new target, the old one continues."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 1)
        settings["targets"].append(speech(cloud, tls={"ca_file": str(tmp_path / "missing.pem")}))
        write(config, settings)
        status, sentence = await exporter.reload()
        assert status == 400
        assert "missing.pem" in sentence
        assert '"speech"' not in await exporter.text()
        await exporter.wait_for_value(RELOADED, 0)
        cloud.world.submit("bert")
        await exporter.wait_for_value(SUBMITTED, 1)


async def test_the_state_file_cannot_be_changed(cloud: Simulator, tmp_path: Path) -> None:
    """A reload with another state file is refused."""
    config = write(tmp_path / "config.yaml", document(cloud, state=tmp_path / "a.json"))
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 1)
        write(config, document(cloud, state=tmp_path / "b.json"))
        status, sentence = await exporter.reload()
        assert (status, "state.file" in sentence) == (400, True)
        await exporter.wait_for_value(RELOADED, 0)
    assert not (tmp_path / "b.json").exists()


async def test_reloads_while_a_poll_hangs(cloud: Simulator, tmp_path: Path) -> None:
    """A hanging poll gets its grace period, and no state without its project is written; a second reload waits.

    So the newest file wins, and the first poll with the new settings follows at once.
    """
    state = tmp_path / "state.json"
    settings = document(cloud, state=state, collection={"timeout": "30s", "stale_after": "5m"})
    settings["targets"].append(speech(cloud))
    config = write(tmp_path / "config.yaml", settings)
    async with in_process_daemon(config) as exporter:
        await exporter.wait_for_value("modelarts_up", 2)
        cloud.world.submit("bert")
        await exporter.wait_for_value(SUBMITTED, 1)
        hang = cloud.faults.add(f"hang:path=*{PROJECT_ID}*")
        await wait_until(lambda: hang.hits > 0)
        settings["targets"][0]["filters"] = {"names": "first"}
        write(config, settings)
        first = asyncio.create_task(exporter.reload())
        written = set()
        before = calls_for(cloud, OTHER_ID)
        await wait_until(
            lambda: calls_for(cloud, OTHER_ID) > before
        )  # a poll of the other project ends and is published
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
        await exporter.wait_for_value(SUBMITTED, 2)
        await exporter.wait_for_value("modelarts_training_job_info", 1, having='"second"')
        assert not await exporter.samples("modelarts_training_job_info", having='"bert"')


async def test_without_lifecycle_only_the_signal_reloads(cloud: Simulator, tmp_path: Path) -> None:
    """Without the flag the path is 404. SIGHUP reloads the real process, with a valid file and an invalid one."""
    settings = document(cloud)
    config = write(tmp_path / "config.yaml", settings)
    async with serve_process(config) as exporter:
        assert (await exporter.post("/-/reload"))[0] == 404
        settings["targets"].append(speech(cloud))
        write(config, settings)
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.wait_for_log(r"config\.reloaded")
        await exporter.wait_until_served(r"poll\.finished.*project=speech collector=jobs")
        assert (await exporter.samples("modelarts_up")).keys() == {'project="speech"', 'project="vision"'}
        config.write_text("targets: 7", encoding="utf-8")
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.wait_for_log(r"config\.refused.*targets")
        await asyncio.sleep(LIVE_MAX_AGE_S)  # self-metrics are cached for this long
        assert await exporter.samples(RELOADED) == {"": 0}
        write(config, settings)
        line = len(exporter.lines)
        exporter.process.send_signal(signal.SIGHUP)
        await exporter.wait_for_log(r"config\.reloaded", since=line)
        await asyncio.sleep(LIVE_MAX_AGE_S)
        assert await exporter.samples(RELOADED) == {"": 1}
