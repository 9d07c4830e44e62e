"""Rendering of snapshots: the text, its independence of earlier snapshots, and the limit on series."""

import dataclasses
import math
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.domain.accounting import QUEUE_BUCKETS_S, RUN_BUCKETS_S, Distribution, Holder
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.recovery import BUCKETS_S
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, Totals, TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.catalog import JOB_FAMILIES, PROJECT_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.family import Family, Label, Sample, Type
from exporter.metrics.exposition.renderer import Rendered, Renderer
from exporter.metrics.exposition.single import SingleSample
from exporter.metrics.exposition.text import EOF, replace_surrogates

Series = tuple[str, tuple[tuple[str, str], ...]]


def job(job_id: str = "j1", *, project: str = "vision", usage: JobUsage | None = None, **facts: Any) -> TrackedJob:
    """A tracked job; `facts` are fields of `Job`, except `shown`, which is a field of `TrackedJob`."""
    shown = facts.pop("shown", True)
    return TrackedJob(project=project, job=Job(job_id=job_id, api=Api.V2, **facts), usage=usage, shown=shown)


def snapshot(*jobs: TrackedJob, project: str = "vision", **facts: Any) -> Snapshot:
    """One project with these jobs."""
    return Snapshot(taken_at=0.0, projects=(project_of(*jobs, project=project, **facts),))


def project_of(*jobs: TrackedJob, project: str = "vision", **facts: Any) -> ProjectSnapshot:
    """A project with these jobs."""
    return ProjectSnapshot(project=project, jobs={tracked.job.job_id: tracked for tracked in jobs}, **facts)


def lines(rendered: Rendered) -> list[str]:
    """Sample lines of the text format."""
    return [line for line in rendered.text.decode().split("\n") if line and not line.startswith("#")]


def family(name: str, samples: Any, *names: str, kind: Type = Type.GAUGE) -> Family[TrackedJob]:
    """A job family with these samples and labels."""
    labels = tuple(Label(name=label, help="Help.") for label in names)
    return Family(name=name, help="Help.", type=kind, subject="job", source="own", labels=labels, samples=samples)


def one(value: float) -> Any:
    """Samples of a family that always has this value."""
    return lambda _: (({}, value),)


def series(metrics: Iterable[Metric]) -> list[Series]:
    """Name and labels of every sample, in order."""
    return [(sample.name, tuple(sorted(sample.labels.items()))) for metric in metrics for sample in metric.samples]


WHOLE = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES).families

names = st.text(st.characters(), max_size=12)
ratios = st.none() | st.floats(0, 1)
usages = st.none() | st.builds(
    JobUsage,
    cpu_ratio=ratios,
    accelerator_ratio=ratios,
    accelerator_mean_ratio=ratios,
    idle_s=st.none() | st.floats(0, 1e6),
    tasks=st.lists(st.builds(TaskUsage, task=names, cpu_ratio=ratios, accelerator_ratio=ratios), max_size=3).map(
        tuple
    ),
)
tracked_jobs = st.builds(
    TrackedJob,
    project=st.just("vision"),
    job=st.builds(
        Job,
        job_id=names,
        api=st.sampled_from(Api),
        name=names,
        user=names,
        pool_id=names,
        flavor=names,
        accelerator=st.none() | st.sampled_from(Accelerator),
        status=st.sampled_from(JobStatus),
        reason=names,
        submitted_at=st.none() | st.floats(0, 2e9),
        started_at=st.none() | st.floats(0, 2e9),
        ended_at=st.none() | st.floats(0, 2e9),
        spec_nodes=st.none() | st.integers(0, 1000),
        spec_accelerators=st.none() | st.floats(0, 1e4),
        recoveries=st.none() | st.dictionaries(names, st.integers(0, 9), max_size=2),
        task_exit_codes=st.dictionaries(names, st.integers(-1, 255), max_size=3),
    ),
    usage=usages,
    shown=st.sampled_from([True, True, True, False]),
)
snapshots = st.lists(tracked_jobs, max_size=5).map(lambda jobs: snapshot(*jobs))


@given(snapshots)
@settings(max_examples=60)
def test_both_parsers_read_every_series_once(newest: Snapshot) -> None:
    """Both parsers accept any names, read the same series from both formats, and read each series once."""
    rendered = Renderer(
        JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES, job_labels=["user", "job_name"]
    ).render(newest)

    text = series(parse_text(rendered.text.decode()))
    openmetrics = series(parse_openmetrics((rendered.openmetrics + EOF).decode()))  # type: ignore[no-untyped-call]  # prometheus-client left it out

    assert text == openmetrics
    assert len(set(text)) == len(text) == sum(rendered.series.values())


@given(names, names)
@settings(max_examples=60)
def test_labels_are_parsed_back(user: str, name: str) -> None:
    """The labels of the job info are parsed back as the cloud sent them, except for lone surrogates."""
    rendered = Renderer(JOB_FAMILIES, ()).render(snapshot(job(user=user, name=name)))

    (info,) = [
        metric for metric in parse_text(rendered.text.decode()) if metric.name == "modelarts_training_job_info"
    ]
    assert (info.samples[0].labels["user"], info.samples[0].labels["job_name"]) == (
        replace_surrogates(user),
        replace_surrogates(name),
    )


@dataclasses.dataclass(frozen=True)
class Step:
    """One poll: which jobs disappear, which change, how many are new, and whether the order is reversed."""

    gone: frozenset[int]
    changed: frozenset[int]
    new: int
    reversed: bool


places = st.frozensets(st.integers(0, 11), max_size=4)
steps = st.lists(
    st.builds(Step, gone=places, changed=places, new=st.integers(0, 6), reversed=st.booleans()), max_size=5
)


def polls(steps_taken: Sequence[Step]) -> Iterator[Snapshot]:
    """The snapshots after such polls; unchanged jobs are the same objects, as in real polling."""
    jobs: list[TrackedJob] = []
    count = 0
    for step in steps_taken:
        jobs = [
            dataclasses.replace(tracked, usage=JobUsage(cpu_ratio=count / 64)) if at in step.changed else tracked
            for at, tracked in enumerate(jobs)
            if at not in step.gone
        ]
        for _ in range(step.new):
            count += 1
            status = list(JobStatus)[count % len(JobStatus)]
            tasks = (TaskUsage(task="worker-0", cpu_ratio=0.5),) * (count % 2)
            usage = JobUsage(cpu_ratio=0.5, tasks=tasks)
            jobs.append(
                job(f"j{count}", status=status, name="ü" * (count % 3), submitted_at=1.0 * count, usage=usage)
            )
        if step.reversed:
            jobs.reverse()
        yield snapshot(*jobs)


@given(steps, st.sampled_from([10**6, 150, 90, 70, 40]))
@settings(max_examples=60)
def test_result_does_not_depend_on_earlier_snapshots(steps_taken: Sequence[Step], limit: int) -> None:
    """After any history of new, changed, reordered and deleted jobs, a new renderer gives the same result."""

    def new_renderer() -> Renderer:
        return Renderer(JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES, max_series_per_project=limit)

    renderer = new_renderer()
    for newest in polls(steps_taken):
        assert renderer.render(newest) == new_renderer().render(newest)


def test_unchanged_jobs_are_not_written_again() -> None:
    """Samples are computed again only for a job that is another object than in the last snapshot."""
    calls: list[str] = []

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        calls.append(tracked.job.job_id)
        return (({}, 1.0),)

    renderer = Renderer([family("modelarts_x", samples)], ())
    first, second = job("j1"), job("j2")
    renderer.render(snapshot(first, second))
    calls.clear()

    renderer.render(snapshot(first, dataclasses.replace(second)))

    assert calls == ["j2"]


def test_unchanged_family_keeps_its_bytes() -> None:
    """An unchanged body is the same object, so it is not compressed again."""
    renderer = Renderer(JOB_FAMILIES, ())
    before = renderer.render(snapshot(job(submitted_at=5.0)))

    after = renderer.render(snapshot(job(submitted_at=5.0, run_duration_s=3.0)))

    kept = {block.header_text: block.body for block in before.blocks}
    assert all(block.body is kept[block.header_text] for block in after.blocks if block.header_text in kept)
    assert len(after.blocks) == len(before.blocks) + 1  # the run duration is new


def test_more_jobs_than_one_batch() -> None:
    """1500 jobs, of which one changes, are complete and in order; a batch has 512."""
    jobs = [job(f"j{number}") for number in range(1500)]
    renderer = Renderer([family("modelarts_x", one(1.0))], ())
    renderer.render(snapshot(*jobs))
    jobs[700] = dataclasses.replace(jobs[700])

    rendered = renderer.render(snapshot(*jobs))

    expected = [f'modelarts_x{{project="vision",job_id="j{number}"}} 1' for number in range(1500)]
    assert lines(rendered) == expected


def test_deleted_job_has_no_series() -> None:
    """A job that is no longer in the snapshot has no lines."""
    renderer = Renderer(JOB_FAMILIES, PROJECT_FAMILIES)
    renderer.render(snapshot(job("gone"), job("here")))

    rendered = renderer.render(snapshot(job("here")))

    assert b'job_id="gone"' not in rendered.text
    assert b'job_id="here"' in rendered.text


def test_hidden_job_is_counted_in_aggregates() -> None:
    """A job that a filter hides has no series and is counted in the aggregates of the project."""
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(snapshot(job(shown=False, status=JobStatus.QUEUED)))

    assert b"job_id=" not in rendered.text
    assert b'modelarts_training_jobs{project="vision",pool_id="",status="queued"} 1\n' in rendered.text


def test_withdrawn_project_keeps_its_counters() -> None:
    """While jobs are withdrawn, their series and gauges are absent, and the counters stay."""
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(
        Snapshot(taken_at=0.0, projects=(ProjectSnapshot(project="vision", jobs=None),))
    )

    assert {line.partition("{")[0] for line in lines(rendered)} == {
        "modelarts_training_jobs_submitted_total",
        "modelarts_training_jobs_started_total",
        "modelarts_training_jobs_finished_total",
    }


def test_family_without_samples_is_left_out() -> None:
    """A family without samples has no header."""
    rendered = Renderer([family("modelarts_x", lambda _: ()), family("modelarts_yy", one(2.0))], ()).render(
        snapshot(job())
    )

    assert rendered.text.startswith(b"# HELP modelarts_yy ")
    assert Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(Snapshot(taken_at=0.0)).text == b""


def test_failing_family_loses_only_its_samples() -> None:
    """A family that raises for a job loses its samples for that job, and the failure is counted."""

    def sometimes(tracked: TrackedJob) -> Iterator[Sample]:
        yield {"task": "a"}, 1.0
        if tracked.job.job_id == "bad":
            raise ZeroDivisionError

    rendered = Renderer([family("modelarts_x", sometimes, "task"), family("modelarts_yy", one(2.0))], ()).render(
        snapshot(job("good"), job("bad"))
    )

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="good",task="a"} 1',
        'modelarts_yy{project="vision",job_id="good"} 2',
        'modelarts_yy{project="vision",job_id="bad"} 2',
    ]
    assert (rendered.failed, rendered.series) == (1, {"vision": 3})


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(({"other": "a"}, 1.0), id="undeclared label"),
        pytest.param(({"task": None}, 1.0), id="label value that is not a string"),
        pytest.param(({"task": "a"}, "much"), id="value that is not a number"),
    ],
)
def test_invalid_sample_is_refused(sample: Any) -> None:
    """A sample that cannot become a valid line is counted as failed."""
    rendered = Renderer([family("modelarts_x", lambda _: (sample,), "task")], ()).render(snapshot(job()))

    assert (rendered.text, rendered.failed) == (b"", 1)


@given(snapshots)
@settings(max_examples=40)
def test_batches_give_the_same_text_as_single_calls(newest: Snapshot) -> None:
    """A `SingleSample` is rendered as if it were called for each job separately."""

    def plain(declared: Family[TrackedJob]) -> Family[TrackedJob]:
        samples = declared.samples
        assert samples is not None
        return dataclasses.replace(declared, samples=lambda tracked: iter(samples(tracked)))

    assert any(isinstance(declared.samples, SingleSample) for declared in JOB_FAMILIES)
    assert Renderer(JOB_FAMILIES, ()).render(newest) == Renderer(list(map(plain, JOB_FAMILIES)), ()).render(newest)


def unless_bad(good: Any, bad: Any = None) -> Any:
    """Return a function that gives `good`, and for the job "bad" gives `bad`, or raises when that is None."""

    def value(tracked: TrackedJob) -> Any:
        if tracked.job.job_id != "bad":
            return good
        if bad is None:
            raise ZeroDivisionError
        return bad

    return value


def whole_job(tracked: TrackedJob) -> TrackedJob:
    """The whole subject as the part from which a value is read."""
    return tracked


A_TASK = {"task": "a"}


@pytest.mark.parametrize(
    "part, value, labels",
    [
        pytest.param(unless_bad(1), lambda _: True, unless_bad(A_TASK, A_TASK), id="part"),
        pytest.param(whole_job, unless_bad(1), unless_bad(A_TASK, A_TASK), id="value"),
        pytest.param(whole_job, unless_bad(1, "x"), unless_bad(A_TASK, A_TASK), id="text as value"),
        pytest.param(whole_job, unless_bad(1, 1), unless_bad(A_TASK), id="labels"),
        pytest.param(whole_job, unless_bad(1, 1), unless_bad(A_TASK, {"other": "a"}), id="undeclared label"),
    ],
)
def test_failing_job_loses_only_its_sample_in_a_batch(part: Any, value: Any, labels: Any) -> None:
    """When a `SingleSample` fails for one job of a batch, the others are rendered and the failure is counted."""
    single: SingleSample[TrackedJob, Any] = SingleSample(part=part, value=value, labels=labels)
    refusing = family("modelarts_x", single, "task")

    rendered = Renderer([refusing, family("modelarts_yy", one(2.0))], ()).render(snapshot(job("bad"), job("good")))

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="good",task="a"} 1',
        'modelarts_yy{project="vision",job_id="bad"} 2',
        'modelarts_yy{project="vision",job_id="good"} 2',
    ]
    assert (rendered.failed, rendered.series) == (1, {"vision": 3})


def test_parts_are_computed_once_for_all_families() -> None:
    """A `part` function that several families share is called once for each job."""
    calls: list[str] = []

    def part(tracked: TrackedJob) -> TrackedJob:
        calls.append(tracked.job.job_id)
        return tracked

    single = SingleSample(part=part, value=lambda _: 1.0)

    Renderer([family(f"modelarts_x{letter}", single) for letter in "abc"], ()).render(snapshot(job("j1"), job("j2")))

    assert calls == ["j1", "j2"]


def test_repeated_labels_are_written_once() -> None:
    """Of several samples with the same labels the first is kept, and the others are counted as failed."""
    samples = (({"task": "a"}, 1.0), ({"task": "b"}, 2.0), ({"task": "a"}, 3.0), ({"task": "a"}, 4.0))

    rendered = Renderer([family("modelarts_x", lambda _: samples, "task")], ()).render(snapshot(job()))

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="j1",task="a"} 1',
        'modelarts_x{project="vision",job_id="j1",task="b"} 2',
    ]
    assert rendered.failed == 2


def test_job_ids_that_look_the_same_are_written_once() -> None:
    """Ids that differ only in lone surrogates would give the same series: the second job is counted as failed."""
    rendered = Renderer([family("modelarts_x", one(1.0))], ()).render(snapshot(job("a\ud800"), job("a\ud801")))

    assert lines(rendered) == ['modelarts_x{project="vision",job_id="a\ufffd"} 1']
    assert rendered.failed == 1


def test_project_that_occurs_twice_is_written_once() -> None:
    """A second project of the same name would repeat every series of the first."""
    first, second = project_of(job("j1")), project_of(job("j2"))

    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(Snapshot(taken_at=0.0, projects=(first, second)))

    assert b"j2" not in rendered.text
    assert rendered.failed == 1


def test_job_in_two_projects_is_written_once() -> None:
    """A job that is in two projects is rendered once."""
    rendered = Renderer([family("modelarts_x", one(1.0))], ()).render(
        Snapshot(taken_at=0.0, projects=(project_of(job("j1")), project_of(job("j1"), job("j2"), project="speech")))
    )

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="j1"} 1',
        'modelarts_x{project="vision",job_id="j2"} 1',
    ]


def test_job_labels_follow_the_identity_labels() -> None:
    """Configured labels are copied from the info to every other job series, in the configured order, once each."""
    renderer = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, job_labels=["user", "pool_id", "user"])

    written = lines(renderer.render(snapshot(job(user='a"b', pool_id="p1"))))

    assert (
        'modelarts_training_job_status{project="vision",job_id="j1",user="a\\"b",pool_id="p1",status="unknown"} 1'
        in (written)
    )
    assert [line.count("user=") for line in written if line.startswith("modelarts_training_job_")] == [1, 1]


def test_label_of_the_family_replaces_the_job_label() -> None:
    """A family that declares a label of that name keeps its own, because a line can have it only once."""
    renderer = Renderer(JOB_FAMILIES, (), job_labels=["accelerator"])

    rendered = renderer.render(snapshot(job(accelerator=Accelerator.NPU, spec_nodes=1, spec_accelerators=8.0)))

    assert 'modelarts_training_job_spec_nodes{project="vision",job_id="j1",accelerator="npu"} 1' in lines(rendered)
    assert 'modelarts_training_job_spec_accelerators{project="vision",job_id="j1",accelerator="npu"} 8' in lines(
        rendered
    )


def test_job_label_of_a_job_without_info_is_empty() -> None:
    """When a job has no info sample, the copied label is empty."""
    info = family("modelarts_x", lambda _: (), "user", kind=Type.INFO)

    rendered = Renderer([info, family("modelarts_yy", one(1.0))], (), job_labels=["user"]).render(snapshot(job()))

    assert lines(rendered) == ['modelarts_yy{project="vision",job_id="j1",user=""} 1']


def test_job_without_identity_labels_loses_only_its_series() -> None:
    """When the info raises for a job whose labels are copied, the other jobs are rendered."""

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        return (({"user": "u" * (1 // len(tracked.job.name))}, 1.0),)

    info = family("modelarts_x", samples, "user", kind=Type.INFO)
    renderer = Renderer([info, family("modelarts_yy", one(1.0))], (), job_labels=["user"])

    rendered = renderer.render(snapshot(job("j1", name=""), job("j2", name="n")))

    assert lines(rendered) == [
        'modelarts_x_info{project="vision",job_id="j2",user="u"} 1',
        'modelarts_yy{project="vision",job_id="j2",user="u"} 1',
    ]
    assert rendered.failed == 2  # the info, and the identity labels for the other family


@pytest.mark.parametrize(
    "families, labels, match",
    [
        pytest.param(
            JOB_FAMILIES, ["shoe_size"], r"no labels of the job's info: shoe_size; there are job_name,", id="label"
        ),
        pytest.param([JOB_FAMILIES[1]], ["user"], "user", id="no info"),
        pytest.param([JOB_FAMILIES[0]] * 2, [], "declared twice", id="family twice"),
        pytest.param([family("modelarts_x", None)], [], "modelarts_x", id="self-metric"),
    ],
)
def test_invalid_renderer_is_refused(families: Any, labels: Any, match: str) -> None:
    """A family or label that can never be rendered is refused by name when the renderer is created."""
    with pytest.raises(ValueError, match=match):
        Renderer(families, (), job_labels=labels)


WITHOUT_USAGE = [family("modelarts_x", one(1.0))]
TASKS = [
    family(
        "modelarts_task",
        lambda tracked: (({"task": task.task}, 1.0) for task in (tracked.usage.tasks if tracked.usage else ())),
        "task",
    )
]
WITH_USAGE = [
    *WITHOUT_USAGE,
    family("modelarts_used", lambda tracked: () if tracked.usage is None else (({}, 1.0),)),
]


def usage_of(*tasks: str) -> JobUsage:
    """A usage reading of these tasks."""
    return JobUsage(tasks=tuple(TaskUsage(task=task) for task in tasks))


@pytest.mark.parametrize(
    "limit, expected",
    [
        pytest.param(12, {"old": 1, "late": 1, "big": 5, "small": 3, "young": 2}, id="room for all 12"),
        pytest.param(11, {"late": 1, "big": 5, "small": 3, "young": 2}, id="first the job that ended first"),
        pytest.param(10, {"big": 5, "small": 3, "young": 2}, id="then the one that ended later"),
        pytest.param(9, {"big": 2, "small": 3, "young": 2}, id="then the tasks of the job with the most"),
        pytest.param(6, {"big": 2, "small": 2, "young": 2}, id="then the task of the other job"),
        pytest.param(5, {"big": 2, "small": 2, "young": 1}, id="then the usage of the newest job"),
        pytest.param(3, {"big": 1, "small": 1, "young": 1}, id="then the usage of all jobs"),
        pytest.param(2, {"big": 1, "small": 1}, id="then whole jobs, the newest first"),
        pytest.param(0, {}, id="room for none"),
    ],
)
def test_limit_drops_the_least_important_series_first(limit: int, expected: dict[str, int]) -> None:
    """Finished jobs are dropped first, then tasks, then usage, then whole jobs; dropped series are counted."""
    jobs = [
        job("old", status=JobStatus.FAILED, ended_at=10.0),
        job("late", status=JobStatus.COMPLETED, ended_at=20.0),
        job("big", status=JobStatus.RUNNING, submitted_at=1.0, usage=usage_of("a", "b", "c")),
        job("small", status=JobStatus.RUNNING, submitted_at=2.0, usage=usage_of("a")),
        job("young", status=JobStatus.RUNNING, submitted_at=3.0, usage=usage_of()),
    ]
    renderer = Renderer(WITH_USAGE, (), per_task_families=TASKS, max_series_per_project=limit)

    rendered = renderer.render(snapshot(*jobs))

    written = lines(rendered)
    counts = {
        tracked.job.job_id: sum(f'job_id="{tracked.job.job_id}"' in line for line in written) for tracked in jobs
    }
    assert {job_id: count for job_id, count in counts.items() if count} == expected
    assert rendered.series == {"vision": len(written)}
    assert rendered.dropped == {"vision": 12 - len(written)}  # 1 + 1 + (2 + 3) + (2 + 1) + 2 = 12


def test_limit_applies_to_each_project() -> None:
    """A project above the limit does not affect another one."""
    large = project_of(job("j1"), job("j2"), job("j3"))
    small_project = project_of(job("j4", project="speech"), project="speech")

    rendered = Renderer(WITHOUT_USAGE, (), max_series_per_project=2).render(
        Snapshot(taken_at=0.0, projects=(large, small_project))
    )

    assert rendered.series == {"vision": 2, "speech": 1}
    assert rendered.dropped == {"vision": 1, "speech": 0}


def test_aggregates_are_never_dropped() -> None:
    """Aggregates count towards the limit first, and are rendered even when they exceed it."""
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, max_series_per_project=1).render(snapshot(job()))

    assert b"job_id=" not in rendered.text
    assert b'modelarts_training_jobs{project="vision",pool_id="",status="unknown"} 1\n' in rendered.text
    assert rendered.dropped == {"vision": 2}  # info and status


def test_series_return_below_the_limit() -> None:
    """When a project is below the limit again, all its series are back."""
    renderer = Renderer(WITHOUT_USAGE, (), max_series_per_project=1)
    staying, leaving = job("j2", submitted_at=2.0), job("j1", submitted_at=1.0)
    assert renderer.render(snapshot(leaving, staying)).dropped == {"vision": 1}

    rendered = renderer.render(snapshot(staying))

    assert lines(rendered) == ['modelarts_x{project="vision",job_id="j2"} 1']
    assert rendered.dropped == {"vision": 0}


def test_jobs_beyond_the_limit_are_not_written_again() -> None:
    """An unchanged job that was dropped last time is neither rendered nor counted again."""
    calls: list[str] = []

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        calls.append(tracked.job.job_id)
        return (({}, math.pi),)

    renderer = Renderer([family("modelarts_x", samples)], (), max_series_per_project=2)
    jobs = [job(f"j{number}", status=JobStatus.COMPLETED, ended_at=1.0 * number) for number in range(4)]
    renderer.render(snapshot(*jobs))
    calls.clear()

    rendered = renderer.render(Snapshot(taken_at=1.0, projects=(project_of(*jobs),)))

    assert calls == []
    assert [line[-23:] for line in lines(rendered)] == ['"j2"} 3.141592653589793', '"j3"} 3.141592653589793']


@pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed; CI has it"
)
def test_promtool_accepts_every_family() -> None:
    """`promtool check metrics` reports nothing when every family has a sample."""
    readings: dict[str, Any] = {field.name: 0.5 for field in dataclasses.fields(JobUsage) if field.name != "tasks"}
    task = TaskUsage(
        task="worker-0", cpu_ratio=0.5, memory_ratio=0.5, accelerator_ratio=0.5, accelerator_memory_ratio=0.5
    )
    used = JobUsage(**readings, tasks=(task,))
    running = job(
        "j1",
        usage=used,
        status=JobStatus.RUNNING,
        accelerator=Accelerator.GPU,
        reason="running",
        priority=1.0,
        submitted_at=1.0,
        started_at=2.0,
        ended_at=3.0,
        run_duration_s=1.0,
        spec_nodes=2,
        spec_accelerators=16.0,
        quality={"f1": 0.5},
        recoveries={"pod_reschedule": 1},
        degraded_recoveries={"proc_restart": 1},
        faults={"node_fault": 1},
        task_faults={"worker-0": 1},
        last_recovery_at=2.5,
        crash_loop_runs=0,
        task_exit_codes={"worker-0": 137},
    )
    waiting = job("j2", status=JobStatus.QUEUED, submitted_at=1.0)
    holder = Holder("", "u", Accelerator.GPU)
    totals = Totals(
        waits={"": Distribution.empty(QUEUE_BUCKETS_S).with_one(31.0)},
        runs={("", JobStatus.FAILED): Distribution.empty(RUN_BUCKETS_S).with_one(2e6)},
        held_s={holder: 2.0},
        idle_s={holder: 1.0},
        lost_s={holder: 0.5},
        recoveries={"pod_reschedule": 1},
        faults={("", "node_fault", "success"): 1},
        recovery_times={"pod_reschedule": Distribution.empty(BUCKETS_S).with_one(60.0)},
    )
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES).render(
        snapshot(running, waiting, totals=totals)
    )

    result = subprocess.run(["promtool", "check", "metrics"], input=rendered.text, capture_output=True, check=False)

    assert len(rendered.blocks) == len(WHOLE)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
