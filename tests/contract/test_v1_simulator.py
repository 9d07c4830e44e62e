"""The v1 source over real sockets, against the simulator, its quirks and its faults."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from exporter.cloud.http.errors import Denied, Gone, Unsupported
from exporter.cloud.v1.listing import OVERVIEW_RETRY_S
from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.source import SourceError
from exporter.simulator import SECOND_WORKSPACE, SECRET_MARKER, Options
from exporter.simulator import Job as Simulated
from tests.clock import ManualClock
from tests.contract.simulated import FakePoller, Scene, scene_of

HARMLESS = [
    "v1-overview-missing",
    "v1-overview-as-job",
    "v1-overview-offset-pages",
    "v1-overview-no-limit-0",
    "v1-overview-gpu-per-node",
    "v1-page-clamped",
    "v1-metrics-text",
    "v1-metrics-object",
    "v1-numbers-as-strings",
    "v1-failures-400",
    "secrets-in-answers",
]
"""Quirks that must not change the result."""


@pytest.fixture
async def scene(clock: ManualClock) -> AsyncIterator[Scene]:
    async with scene_of(Options(empty=True), clock) as scene:
        yield scene


def submit_jobs(scene: Scene, size: int = 12) -> list[Simulated]:
    """Jobs in every stage, in both workspaces, on one node or several, the oldest first."""
    world = scene.cloud.world
    at = world.now
    jobs = []
    for number in range(size):
        nodes = 1 + number % 3
        kinds = ("gpu", "npu", "cpu")
        job = world.submit(
            f"job-{number:03d}",
            api="v1",
            nodes=nodes,
            accelerator=kinds[number % 3],
            accelerators_per_node=4,
            workspace=("0", SECOND_WORKSPACE)[number % 2],
            submitted_at=at - 3600 + number,
        )
        if number % 4:
            world.enqueue(job)
        if number % 4 >= 2:
            world.start(job, at=at - 3000 + number)
        if number % 4 == 3:
            world.complete(job, at=at - 100)
        jobs.append(job)
    return jobs


@pytest.mark.parametrize(
    "quirks", [(), *((quirk,) for quirk in HARMLESS)], ids=lambda quirks: "+".join(quirks) or "none"
)
async def test_quirks_change_nothing(scene: Scene, quirks: tuple[str, ...]) -> None:
    """With each quirk, every version has the same status, times, nodes, cards, names and users."""
    submit_jobs(scene)
    second = scene.cloud.world.submit("job-004", api="v1", version_of=scene.cloud.world.job("job-004"))
    plain = FakePoller(scene.make_v1(), scene.clock)
    await plain.jobs()
    expected = dict(await plain.jobs())
    scene.cloud.quirks.on(*quirks)

    await scene.v1.jobs()
    found = dict(await scene.v1.jobs())

    assert len(expected) == 13
    assert found == expected
    assert found[second.id].version == "V0002"
    assert {job.status for job in found.values()} == {
        JobStatus.INITIALIZING,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        JobStatus.COMPLETED,
    }
    assert {job.spec_nodes for job in found.values()} == {1, 2, 3}
    assert {job.workspace_id for job in found.values()} == {"0", SECOND_WORKSPACE}
    assert SECRET_MARKER not in repr(found)
    assert {field for field in scene.notes.fields if field != "v1.overview.gpu_num"} == set()


@pytest.mark.parametrize(
    "quirks",
    [
        ("v1-overview-no-limit-0",),
        ("v1-overview-no-limit-0", "v1-overview-offset-pages"),
        ("v1-overview-no-limit-0", "shifting-pages"),
        ("v1-overview-missing", "v1-page-clamped"),
        ("v1-overview-missing", "v1-page-clamped", "shifting-pages"),
    ],
    ids="+".join,
)
async def test_several_pages_lose_no_version(scene: Scene, quirks: tuple[str, ...]) -> None:
    """280 versions are returned once each, however pages are cut and counted and rows move (traps 2 and 5)."""
    jobs = submit_jobs(scene, 280)
    scene.cloud.quirks.on(*quirks)

    found = await scene.v1.jobs()
    again = await scene.v1.jobs()

    assert {job.id for job in jobs} <= set(found)
    unfinished = {job_id for job_id, job in found.items() if not job.status.finished}
    assert unfinished <= set(again)  # a new version may belong to a finished job, and replace it in the list


async def test_unknown_statuses_are_unknown(scene: Scene) -> None:
    """Trap 11: an undocumented number is unknown, and counted; the job is returned."""
    jobs = submit_jobs(scene, 20)
    scene.cloud.quirks.on("unknown-values")

    found = await scene.v1.jobs()

    assert set(found) == {job.id for job in jobs}
    odd = [job for job in found.values() if job.status is JobStatus.UNKNOWN]
    assert odd
    assert all(job.reason == "" for job in odd)
    assert set(scene.notes.fields) == {"v1.status"}


async def test_a_missing_user_is_absent(scene: Scene) -> None:
    """The list's user is undocumented."""
    submit_jobs(scene, 2)
    scene.cloud.quirks.on("v1-user-missing")

    assert {job.user for job in (await scene.v1.jobs()).values()} == {""}


@pytest.mark.parametrize("quirk", [None, "v1-overview-missing"], ids=["overview", "list"])
async def test_the_parameters_of_requests(scene: Scene, quirk: str | None) -> None:
    """Traps 2, 4, 6 and 7: no body, no sort, at most 1000 a page, and a workspace in every listing."""
    if quirk:
        scene.cloud.quirks.on(quirk)
    submit_jobs(scene)

    await scene.v1.jobs()

    requests = [request for request in scene.cloud.requests if request.operation.startswith("v1.")]
    assert requests
    for request in requests:
        query = parse_qs(request.query)
        assert (request.method, request.body) == ("GET", b"")
        assert not {"sort_by", "sortBy", "order", "status"} & set(query)
        assert int(query.get("per_page", ["1"])[0]) <= 1000
        if request.operation in {"v1.overview", "v1.jobs"}:
            assert query["workspace_id"] in (["0"], [SECOND_WORKSPACE])


@pytest.mark.parametrize("history", [10, 3_000], ids=["10 finished", "3 000 finished"])
@pytest.mark.parametrize("quirk", [None, "v1-overview-missing"], ids=["overview", "list"])
async def test_calls_do_not_grow_with_history(clock: ManualClock, history: int, quirk: str | None) -> None:
    """A poll without changes is one overview per workspace; without it, one page of the job list per 1000 jobs."""
    async with scene_of(Options(jobs=0, arrivals=0, history=history, v1_share=1.0), clock) as scene:
        running = scene.cloud.world.submit("now", api="v1")
        scene.cloud.world.enqueue(running)
        scene.cloud.world.start(running)
        clock.turn(3 * 86_400)  # the finished ones ended before the retention
        if quirk:
            scene.cloud.quirks.on(quirk)
        for _ in range(200):  # until each job with several versions was read once
            scene.cloud.requests.clear()
            await scene.v1.jobs()
            if scene.cloud.requests.count("v1.version*") == 0:
                break
        quiet = scene.cloud.requests.counts()
        sizes = Counter(lineage.workspace for lineage in scene.cloud.world.project().v1_jobs.values())
        pages = sum(max(1, -(-sizes[workspace] // 1000)) for workspace in ("0", SECOND_WORKSPACE))

        scene.cloud.world.fail(running)
        scene.cloud.requests.clear()
        ended = await scene.v1.jobs()

        assert quiet == ({"v1.overview": 2} if quirk is None else {"v1.jobs": pages})
        counts = scene.cloud.requests.counts()
        compared = counts.pop("v1.jobs") if quirk is None else 0  # once an hour, while no version is active
        assert compared == (0 if quirk else max(1, -(-sizes["0"] // 1000)))
        assert counts == quiet | {"v1.version" if quirk is None else "v1.versions": 1}
        assert ended[running.id].status is JobStatus.FAILED

        scene.cloud.requests.clear()
        await scene.v1.jobs()
        assert scene.cloud.requests.counts() == quiet


async def test_a_deleted_job_is_gone(scene: Scene) -> None:
    """The cloud refuses its record in-band, at HTTP 200 (trap 8)."""
    jobs = submit_jobs(scene)
    await scene.v1.jobs()
    scene.cloud.world.delete(jobs[1])

    result = await scene.v1.poll()

    assert result.gone == {jobs[1].id}
    assert result.failures == ()


async def test_deleted_history_is_gone_after_a_sweep(scene: Scene) -> None:
    """A poll confirms unfinished versions; the sweep confirms the others."""
    jobs = submit_jobs(scene)
    await scene.v1.jobs()
    scene.cloud.world.delete(jobs[3])

    assert (await scene.v1.poll()).gone == frozenset()
    assert (await scene.v1.source.sweep(scene.v1.known)).gone == {jobs[3].id}


async def test_jobs_deleted_during_a_poll(scene: Scene) -> None:
    """Deleted between listing and record: returned by this poll, and gone in the next one."""
    (job,) = submit_jobs(scene, 1)
    scene.cloud.quirks.on("vanishing")

    first = await scene.v1.poll()
    second = await scene.v1.poll()

    assert [found.job_id for found in first.jobs] == [job.id]
    assert first.failures == second.failures == ()
    assert second.gone == {job.id}


async def test_one_bad_item_is_skipped_alone(scene: Scene) -> None:
    """An item that is a number is skipped and noted; the others of its list are returned.

    The version behind it is missing, unless it runs: the job list has it then, and replaces the overview.
    """
    submit_jobs(scene)
    scene.cloud.faults.add("bad-item:operation=v1.overview")

    found = (await scene.v1.poll()).jobs

    assert len(found) == 11  # 12, less one in one of two workspaces: the bad item of the other is a running version
    assert (
        scene.notes.fields.count("v1.versions") == 3
    )  # one of the two overviews is read again before it is replaced


async def test_a_failed_workspace_does_not_affect_the_others(scene: Scene) -> None:
    """HTML from a proxy for one workspace: its jobs are neither returned nor gone, the others are returned."""
    submit_jobs(scene)
    await scene.v1.jobs()
    scene.cloud.faults.add("html-502:operation=v1.overview,after=1")

    result = await scene.v1.poll()

    assert {job.workspace_id for job in result.jobs} == {"0"}
    assert [failure.outcome for failure in result.failures] == ["server_error"]
    assert result.gone == frozenset()


async def test_a_rejected_credential_is_a_failed_poll(scene: Scene) -> None:
    """Trap 34: it is not sent again for each workspace."""
    submit_jobs(scene)
    await scene.workspaces()
    scene.cloud.faults.add("401")
    scene.cloud.requests.clear()

    with pytest.raises(Denied):
        await scene.v1.poll()
    assert scene.cloud.requests.count("v1.*") <= 2  # the call, and one retry with a fresh credential


async def test_the_overview_is_requested_again_after_hours(scene: Scene) -> None:
    """Trap 5: until then the job list replaces it."""
    submit_jobs(scene)
    scene.cloud.quirks.on("v1-overview-as-job")
    await scene.v1.jobs()
    scene.cloud.quirks.clear()
    scene.cloud.requests.clear()
    await scene.v1.jobs()
    meanwhile = scene.cloud.requests.count("v1.overview")
    scene.clock.turn(OVERVIEW_RETRY_S)
    await scene.v1.jobs()

    assert meanwhile == 0
    assert scene.cloud.requests.count("v1.overview") == 2


@pytest.mark.parametrize("quirk", [None, "v1-metrics-text", "v1-numbers-as-strings"], ids=str)
async def test_usage_of_a_running_version(scene: Scene, quirk: str | None) -> None:
    """Traps 17, 18 and 21: samples in any form, without their padding; rates in bytes."""
    jobs = submit_jobs(scene)
    if quirk:
        scene.cloud.quirks.on(quirk)
    found = await scene.v1.jobs()
    jobs[6].series = {
        "": {
            "cpuUsage": [-1, 50, 60, -1],
            "memUsage": [-1, 40, 41, -1],
            "gpuUtil": [-1, 0, 70, -1],
            "diskReadRate": [-1, 12, 9, -1],
            "recvBytesRate": [-1, 12, 9, -1],
        }
    }

    series = await scene.v1.source.usage(found[jobs[6].id], "")

    assert series is not None
    assert list(series.accelerator) == [None, 0.0, 0.7]
    assert list(series.disk_read) == [None, 12_000.0, 9_000.0]
    assert list(series.network_received) == [None, 12.0, 9.0]


async def test_missing_usage(scene: Scene) -> None:
    """Trap 17: null is no data; a version that was deleted meanwhile is gone."""
    jobs = submit_jobs(scene)
    found = await scene.v1.jobs()
    scene.cloud.quirks.on("v1-metrics-null")
    running = found[jobs[2].id]

    assert await scene.v1.source.usage(running, "") is None
    scene.cloud.world.delete(jobs[2])
    with pytest.raises(Gone):
        await scene.v1.source.usage(running, "")


async def test_usage_finds_the_job_of_a_version(scene: Scene) -> None:
    """Trap 27: a new source that has only the version finds its job first."""
    (job,) = submit_jobs(scene, 1)
    unlisted = Job(job_id=job.id, api=Api.V1, workspace_id="0")

    assert await scene.make_v1().usage(unlisted, "") is None  # it waits: there is no sample yet
    assert scene.cloud.requests.counts() == {"v1.jobs": 1, "v1.version": 1}
    assert await scene.make_v1().usage(replace(unlisted, job_id="1"), "") is None


@pytest.mark.parametrize(
    "quirks, expected",
    [((), ["v1", "v2"]), (("no-v1",), ["v2"]), (("no-v2",), ["v1"])],
    ids=["both", "v2 only", "v1 only"],
)
async def test_probing_finds_the_generations(scene: Scene, quirks: tuple[str, ...], expected: list[str]) -> None:
    """`api: auto`: 404 with APIG.0101 means that the generation does not exist."""
    scene.cloud.quirks.on(*quirks)

    assert [source.api.value for source in await scene.probed().current()] == expected


async def test_probing_a_cloud_without_training_jobs(scene: Scene) -> None:
    """Neither generation: one clear sentence, and no authentication error."""
    scene.cloud.quirks.on("no-v1", "no-v2")

    with pytest.raises(Unsupported, match="neither"):
        await scene.probed().current()


@pytest.mark.parametrize("fault", ["401", "403"])
async def test_probing_without_permission_proves_no_absence(scene: Scene, fault: str) -> None:
    """A cloud that rejects the credential may have both generations."""
    scene.cloud.faults.add(fault)

    with pytest.raises(SourceError) as raised:
        await scene.probed().current()
    assert not isinstance(raised.value, Unsupported)


async def test_all_workspaces_are_found(scene: Scene) -> None:
    """Trap 4: the project's list has both."""
    assert await scene.workspaces() == ("0", SECOND_WORKSPACE)
