"""From a failed job to the notification: real programs, the shipped rules, and restarts in between.

The scenario runs once. Each test checks one fact of what was observed.
"""

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from exporter.simulator import Options, Simulator
from exporter.simulator.world.job import Api
from tests.e2e.alertmanager_stub import AlertReceiver, Notification, alertmanager_config, run_receiver
from tests.e2e.scenario import ALERT, INTERVAL_S, STEP_TIMEOUT_S, Scenario, exporter_of, prometheus_of
from tests.programs import Alertmanager

CLEARS_S = 40
"""Instead of the shipped 1800 s. Both restarts end while the alerts are firing."""
APIS: tuple[Api, ...] = ("v2", "v1")
ALERTING = (
    "watched",  # runs until its second task is made to fail
    "lost",  # of v1; runs until it is lost
    "unborn",  # cannot be created: no start and no end
    "quick-v1",  # submitted, started and failed between two polls
    "quick-v2",
    "early-v1",  # failed shortly before the exporter's first start
    "early-v2",
    "deleted",  # deleted as soon as the exporter exports its failure
    "meanwhile",  # fails while the exporter is down
)
SILENT = (
    "old-v1",  # failed an hour before the exporter's first start
    "old-v2",
    "completed",
    "terminated",
    "running",
)

pytestmark = [pytest.mark.endurance, pytest.mark.serial, pytest.mark.timeout(400)]  # the first test runs the scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was observed. Jobs are identified by name; times are seconds since the epoch."""

    notifications: Mapping[str, list[Notification]]
    """Notifications by job."""
    exported: Mapping[str, str]
    """Exported status while the alerts were firing."""
    seen_alive: set[str]
    """Jobs with a sample of any status but failed and lost."""
    failed_at: Mapping[str, list[float]]
    """Times of the scrapes with the failure."""
    fired_at: Mapping[str, list[float]]
    """Times of the evaluations at which the alert fired."""
    without_exporter: set[str]
    """Jobs whose alert fired while the exporter was down."""
    after_restart: set[str]
    """Jobs whose alert fired after Prometheus was killed and restarted."""
    resolved: int
    """Number of notifications when every alert was resolved."""
    at_the_end: int
    """Number of notifications after both programs were killed and restarted once more."""
    unhealthy: list[str]
    """Rules that Prometheus could not evaluate."""


async def run_scenario(scenario: Scenario, receiver: AlertReceiver) -> Observations:
    """Run the scenario. Prometheus and Alertmanager run already; the exporter starts here for the first time."""
    for api in APIS:
        scenario.past_failure(f"old-{api}", api=api, ended_ago_s=3600)
        scenario.past_failure(f"early-{api}", api=api, ended_ago_s=5)
    scenario.run("watched", nodes=2, pool="pool-a", user="mira")
    scenario.run("lost", api="v1")
    scenario.submit("unborn")
    for name in ("deleted", "meanwhile", "completed", "terminated", "running"):
        scenario.run(name)
    await scenario.exporter.start()
    await scenario.until_scraped('modelarts_training_job_status{status="running"}', results=7)

    await scenario.move("watched", "fail", exit_code=137, task="worker-1")
    await scenario.move("lost", "lose")
    await scenario.move("unborn", "create-fail")
    await scenario.move("completed", "complete")
    await scenario.move("terminated", "terminate")
    for api in APIS:
        scenario.quick_failure(f"quick-{api}", api=api)
    await scenario.move("deleted", "fail")
    await scenario.until_exported("deleted", "failed")
    await scenario.move("deleted", "delete")
    await receiver.wait_for_notifications("firing", set(ALERTING) - {"meanwhile"}, deadline_s=STEP_TIMEOUT_S)
    exported = await scenario.exported()

    await scenario.exporter.kill()
    await scenario.move("meanwhile", "fail")
    await scenario.until_scraped("up == 0", results=1)
    without_exporter = await scenario.firing()
    await scenario.exporter.start()
    await receiver.wait_for_notifications("firing", {"meanwhile"}, deadline_s=STEP_TIMEOUT_S)

    await scenario.prometheus.kill()
    await scenario.prometheus.start()
    await scenario.until_evaluated()
    after_restart = await scenario.firing()
    await receiver.wait_for_notifications("resolved", ALERTING, deadline_s=CLEARS_S + STEP_TIMEOUT_S)
    resolved = len(receiver.notifications)

    await scenario.exporter.kill()
    await scenario.prometheus.kill()
    await scenario.exporter.start()
    await scenario.prometheus.start()
    for _ in range(3):
        await scenario.until_evaluated()
    return Observations(
        notifications={name: receiver.for_job(name) for name in (*ALERTING, *SILENT)},
        exported=exported,
        seen_alive=set(await scenario.sample_times('modelarts_training_job_status{status!~"failed|lost"}')),
        failed_at=await scenario.sample_times('modelarts_training_job_status{status=~"failed|lost"}'),
        fired_at=await scenario.sample_times(f'ALERTS{{alertname="{ALERT}"}}'),
        without_exporter=without_exporter,
        after_restart=after_restart,
        resolved=resolved,
        at_the_end=len(receiver.notifications),
        unhealthy=[rule["name"] for rule in await scenario.rules() if rule["health"] != "ok"],
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def observations(tmp_path_factory: pytest.TempPathFactory) -> Observations:
    """What was observed. All programs have ended."""
    folder = tmp_path_factory.mktemp("alerting")
    async with AsyncExitStack() as up:
        cloud = await up.enter_async_context(Simulator(Options(empty=True)))
        receiver = await up.enter_async_context(run_receiver())
        alertmanager = await up.enter_async_context(
            Alertmanager(alertmanager_config(receiver, alert=ALERT), folder=folder)
        )
        exporter = exporter_of(cloud, folder=folder)
        up.push_async_exit(exporter)
        prometheus = prometheus_of(exporter, alerts_to=alertmanager, clears_s=CLEARS_S, folder=folder)
        await up.enter_async_context(prometheus)
        return await run_scenario(Scenario(cloud=cloud, exporter=exporter, prometheus=prometheus), receiver)


@pytest.mark.parametrize("name", ALERTING)
def test_each_failure_is_one_alert(observations: Observations, name: str) -> None:
    """Each failed or lost job makes one alert, which resolves. Restarts neither repeat nor restart it."""
    assert [notification.status for notification in observations.notifications[name]] == ["firing", "resolved"]
    fired, resolved = observations.notifications[name]
    assert fired.starts_at == resolved.starts_at
    assert fired.labels == resolved.labels


@pytest.mark.parametrize("name", SILENT)
def test_no_other_job_is_alerted(observations: Observations, name: str) -> None:
    """Old failures and jobs that did not fail are exported and make no alert."""
    assert observations.exported[name] == name.partition("-")[0].replace("old", "failed")
    assert observations.notifications[name] == []


def test_the_alert_has_the_facts_of_the_job(observations: Observations) -> None:
    """Whose job failed where, how and why: in labels, for routing, and in texts, for people."""
    alert = observations.notifications["watched"][0]
    assert {key: alert.labels[key] for key in alert.labels if key != "job_id"} == {
        "alertname": ALERT,
        "severity": "critical",
        "project": "vision",
        "job_name": "watched",
        "user": "mira",
        "pool_id": "pool-a",
    }
    assert alert.annotations["summary"] == "Training job watched of mira failed in pool pool-a"
    job_id = re.escape(alert.labels["job_id"])
    assert re.fullmatch(
        rf"Job watched \({job_id}\) of mira in project vision ended as failed at 2\d{{3}}-[^ ]+ [^ ]+ \+0000 UTC\. "
        r"Reason: failed\. Exit codes: worker-1 137\.",
        alert.annotations["description"],
    ), alert.annotations["description"]


def test_the_text_says_lost_for_a_lost_job(observations: Observations) -> None:
    """The text for a lost job says lost, not failed."""
    assert "ended as lost" in observations.notifications["lost"][0].annotations["description"]


@pytest.mark.parametrize("api", APIS)
def test_a_job_between_two_polls_is_alerted(observations: Observations, api: Api) -> None:
    """The quick jobs are alerted although Prometheus has no sample of them before their failure."""
    assert f"quick-{api}" not in observations.seen_alive
    assert "watched" in observations.seen_alive


@pytest.mark.parametrize("name", ALERTING)
def test_the_alert_fires_within_two_intervals(observations: Observations, name: str) -> None:
    """The alert fires within two scrape intervals of the first scrape with the failure."""
    assert observations.fired_at[name][0] - observations.failed_at[name][0] <= 2 * INTERVAL_S


def test_the_alert_of_a_deleted_job_stays(observations: Observations) -> None:
    """The alert of a deleted job keeps firing after its series ended, for the configured time."""
    assert observations.fired_at["deleted"][-1] > observations.failed_at["deleted"][-1] + 5 * INTERVAL_S


def test_alerts_keep_firing_while_the_exporter_is_down(observations: Observations) -> None:
    """An exporter that is down resolves no alert."""
    assert observations.without_exporter == set(ALERTING) - {"meanwhile"}


def test_alerts_keep_firing_after_a_restart_of_prometheus(observations: Observations) -> None:
    """A Prometheus restarted with its data fires for the same jobs as before."""
    assert observations.after_restart == set(ALERTING)


def test_resolved_alerts_do_not_fire_again(observations: Observations) -> None:
    """Killing exporter and Prometheus after the last alert was resolved causes no notification."""
    assert observations.resolved == observations.at_the_end == 2 * len(ALERTING)


def test_every_rule_can_be_evaluated(observations: Observations) -> None:
    """Every shipped rule evaluates without an error on real series of both API generations, through the restarts."""
    assert observations.unhealthy == []
