"""From a job that fails in the cloud to the pager, with the real programs, our rules, and restarts in between.

The story is played once; each test holds one fact against what was seen of it.
"""

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from exporter.simulator import Options, Simulator
from exporter.simulator.world.job import Api
from tests.e2e.alertmanager_stub import Message, Pager, paging, routing
from tests.e2e.scenario import ALERT, INTERVAL_S, PATIENCE_S, Stage, exporter_of, prometheus_of
from tests.programs import Alertmanager

CLEARS_S = 40
"""Instead of the shipped 1800 s. Both restarts have to be over while the pages are open."""
APIS: tuple[Api, ...] = ("v2", "v1")
PAGED = (
    "watched",  # runs until its second task is made to fail
    "lost",  # of the old generation; runs until the cloud loses it
    "unborn",  # cannot be created: it has neither start nor end
    "quick-v1",  # submitted, started and failed between two polls
    "quick-v2",
    "early-v1",  # failed a moment before the exporter's first start
    "early-v2",
    "deleted",  # deleted as soon as the exporter has seen it fail
    "meanwhile",  # fails while the exporter is dead
)
QUIET = (
    "old-v1",  # failed an hour before the exporter's first start
    "old-v2",
    "completed",
    "terminated",
    "running",
)

pytestmark = pytest.mark.timeout(400)  # the story is played within whichever test comes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen. Jobs go by their names, moments are seconds since the epoch."""

    messages: Mapping[str, list[Message]]
    """What the pager was told about each job."""
    exported: Mapping[str, str]
    """Status that the exporter showed while the pages were open."""
    alive: set[str]
    """Jobs that Prometheus ever saw in another status than failed or lost."""
    failed_at: Mapping[str, list[float]]
    """When Prometheus scraped a failure."""
    fired_at: Mapping[str, list[float]]
    """When Prometheus evaluated the alert as firing."""
    without_exporter: set[str]
    """Jobs whose alert fired while the exporter was dead."""
    after_restart: set[str]
    """Jobs whose alert fired when Prometheus had been killed and was back."""
    resolved: int
    """Messages when every page was resolved."""
    at_the_end: int
    """Messages when exporter and Prometheus had been killed once more after that."""
    unhealthy: list[str]
    """Rules that Prometheus could not evaluate."""


async def play(stage: Stage, pager: Pager) -> Story:
    """Play the story. Prometheus and Alertmanager run; the exporter is started here for the first time."""
    for api in APIS:
        stage.past_failure(f"old-{api}", api=api, ended_ago_s=3600)
        stage.past_failure(f"early-{api}", api=api, ended_ago_s=5)
    stage.run("watched", nodes=2, pool="pool-a", user="mira")
    stage.run("lost", api="v1")
    stage.submit("unborn")
    for name in ("deleted", "meanwhile", "completed", "terminated", "running"):
        stage.run(name)
    await stage.exporter.start()
    await stage.until_scraped('modelarts_training_job_status{status="running"}', results=7)

    await stage.move("watched", "fail", exit_code=137, task="worker-1")
    await stage.move("lost", "lose")
    await stage.move("unborn", "create-fail")
    await stage.move("completed", "complete")
    await stage.move("terminated", "terminate")
    for api in APIS:
        stage.quick_failure(f"quick-{api}", api=api)
    await stage.move("deleted", "fail")
    await stage.until_exported("deleted", "failed")
    await stage.move("deleted", "delete")
    await pager.until_told("firing", set(PAGED) - {"meanwhile"}, deadline_s=PATIENCE_S)
    exported = await stage.exported()

    await stage.exporter.kill()
    await stage.move("meanwhile", "fail")
    await stage.until_scraped("up == 0", results=1)
    without_exporter = await stage.firing()
    await stage.exporter.start()
    await pager.until_told("firing", {"meanwhile"}, deadline_s=PATIENCE_S)

    await stage.prometheus.kill()
    await stage.prometheus.start()
    await stage.until_evaluated()
    after_restart = await stage.firing()
    await pager.until_told("resolved", PAGED, deadline_s=CLEARS_S + PATIENCE_S)
    resolved = len(pager.messages)

    await stage.exporter.kill()
    await stage.prometheus.kill()
    await stage.exporter.start()
    await stage.prometheus.start()
    for _ in range(3):
        await stage.until_evaluated()
    return Story(
        messages={name: pager.about(name) for name in (*PAGED, *QUIET)},
        exported=exported,
        alive=set(await stage.moments('modelarts_training_job_status{status!~"failed|lost"}')),
        failed_at=await stage.moments('modelarts_training_job_status{status=~"failed|lost"}'),
        fired_at=await stage.moments(f'ALERTS{{alertname="{ALERT}"}}'),
        without_exporter=without_exporter,
        after_restart=after_restart,
        resolved=resolved,
        at_the_end=len(pager.messages),
        unhealthy=[rule["name"] for rule in await stage.rules() if rule["health"] != "ok"],
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The story, over; nothing runs any more."""
    folder = tmp_path_factory.mktemp("paging")
    async with AsyncExitStack() as up:
        cloud = await up.enter_async_context(Simulator(Options(empty=True)))
        pager = await up.enter_async_context(paging())
        alertmanager = await up.enter_async_context(Alertmanager(routing(pager, alert=ALERT), folder=folder))
        exporter = exporter_of(cloud, folder=folder)
        up.push_async_exit(exporter)
        prometheus = prometheus_of(exporter, alerts_to=alertmanager, clears_s=CLEARS_S, folder=folder)
        await up.enter_async_context(prometheus)
        return await play(Stage(cloud=cloud, exporter=exporter, prometheus=prometheus), pager)


@pytest.mark.parametrize("name", PAGED)
def test_each_failure_is_one_page(story: Story, name: str) -> None:
    """Each failed or lost job makes one page, which resolves; the restarts on the way neither repeat nor renew it."""
    assert [message.status for message in story.messages[name]] == ["firing", "resolved"]
    fired, resolved = story.messages[name]
    assert fired.begun == resolved.begun
    assert fired.labels == resolved.labels


@pytest.mark.parametrize("name", QUIET)
def test_nothing_else_is_paged(story: Story, name: str) -> None:
    """Old failures, and jobs that did not fail, are shown by the exporter and make no page."""
    assert story.exported[name] == name.partition("-")[0].replace("old", "failed")
    assert story.messages[name] == []


def test_the_page_says_what_is_known(story: Story) -> None:
    """Whose job failed where, how and why: in the labels for routing, in the texts for reading."""
    page = story.messages["watched"][0]
    assert {key: page.labels[key] for key in page.labels if key != "job_id"} == {
        "alertname": ALERT,
        "severity": "critical",
        "project": "vision",
        "job_name": "watched",
        "user": "mira",
        "pool_id": "pool-a",
    }
    assert page.annotations["summary"] == "Training job watched of mira failed in pool pool-a"
    job_id = re.escape(page.labels["job_id"])
    assert re.fullmatch(
        rf"Job watched \({job_id}\) of mira in project vision ended as failed at 2\d{{3}}-[^ ]+ [^ ]+ \+0000 UTC\. "
        r"Reason: Failed\. Exit codes: worker-1 137\.",
        page.annotations["description"],
    ), page.annotations["description"]


def test_a_lost_job_is_called_lost(story: Story) -> None:
    """A job that the cloud lost is not said to have failed by itself."""
    assert "ended as lost" in story.messages["lost"][0].annotations["description"]


@pytest.mark.parametrize("api", APIS)
def test_a_failure_between_two_polls_needs_no_life(story: Story, api: Api) -> None:
    """The quick jobs were paged although Prometheus never saw them but failed."""
    assert f"quick-{api}" not in story.alive
    assert "watched" in story.alive


@pytest.mark.parametrize("name", PAGED)
def test_the_page_comes_within_two_intervals(story: Story, name: str) -> None:
    """Prometheus fires within two scrape intervals of the scrape that first showed the failure."""
    assert story.fired_at[name][0] - story.failed_at[name][0] <= 2 * INTERVAL_S


def test_a_deleted_job_stays_on_the_pager(story: Story) -> None:
    """The page of a job that was deleted outlives its series, until the set time is over."""
    assert story.fired_at["deleted"][-1] > story.failed_at["deleted"][-1] + 5 * INTERVAL_S


def test_pages_stay_open_while_the_exporter_is_dead(story: Story) -> None:
    """A dead exporter resolves nothing."""
    assert story.without_exporter == set(PAGED) - {"meanwhile"}


def test_pages_stay_open_after_prometheus_was_killed(story: Story) -> None:
    """A Prometheus that comes back on its data fires for the same jobs as before."""
    assert story.after_restart == set(PAGED)


def test_what_was_resolved_does_not_come_back(story: Story) -> None:
    """Killing exporter and Prometheus after the last page was resolved makes nobody's pager ring again."""
    assert story.resolved == story.at_the_end == 2 * len(PAGED)


def test_every_rule_can_be_evaluated(story: Story) -> None:
    """No shipped rule breaks on real series: not through the restarts, not with jobs of both generations."""
    assert story.unhealthy == []
