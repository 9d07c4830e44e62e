"""Rendering: what a snapshot becomes, that nothing depends on what was rendered before, and what is left out."""

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
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, Totals, TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.catalog import JOB_FAMILIES, PROJECT_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.family import Family, Label, Sample, Type
from exporter.metrics.exposition.renderer import Rendered, Renderer
from exporter.metrics.exposition.single import SingleSample
from exporter.metrics.exposition.text import EOF, replace_surrogates

Series = tuple[str, tuple[tuple[str, str], ...]]


def job(job_id: str = "j1", *, project: str = "vision", usage: JobUsage | None = None, **facts: Any) -> TrackedJob:
    """A tracked job; `facts` are those of the job itself, `shown` that of its tracking."""
    shown = facts.pop("shown", True)
    return TrackedJob(project=project, job=Job(job_id=job_id, api=Api.V2, **facts), usage=usage, shown=shown)


def snapshot(*jobs: TrackedJob, project: str = "vision", **facts: Any) -> Snapshot:
    """One project with these jobs."""
    return Snapshot(taken_at=0.0, projects=(told(*jobs, project=project, **facts),))


def told(*jobs: TrackedJob, project: str = "vision", **facts: Any) -> ProjectSnapshot:
    """A project with these jobs."""
    return ProjectSnapshot(project=project, jobs={tracked.job.job_id: tracked for tracked in jobs}, **facts)


def lines(rendered: Rendered) -> list[str]:
    """Sample lines of the text format."""
    return [line for line in rendered.text.decode().split("\n") if line and not line.startswith("#")]


def family(name: str, samples: Any, *names: str, kind: Type = Type.GAUGE) -> Family[TrackedJob]:
    """A job family of our own."""
    self_metrics = tuple(Label(name=label, help="Says.") for label in names)
    return Family(
        name=name, help="Says.", type=kind, subject="job", source="own", labels=self_metrics, samples=samples
    )


def one(value: float) -> Any:
    """Samples of a family that always says this."""
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
    """Whatever names strangers chose, both parsers accept the text, read the same series, and none is told twice."""
    rendered = Renderer(
        JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES, job_labels=["user", "job_name"]
    ).render(newest)

    text = series(parse_text(rendered.text.decode()))
    openmetrics = series(parse_openmetrics((rendered.openmetrics + EOF).decode()))  # type: ignore[no-untyped-call]  # prometheus-client left it out

    assert text == openmetrics
    assert len(set(text)) == len(text) == sum(rendered.series.values())


@given(names, names)
@settings(max_examples=60)
def test_labels_read_back(user: str, name: str) -> None:
    """The labels of a job's info come back exactly as the cloud gave them, but for what has no UTF-8."""
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
    """One poll: which jobs go, which get a new reading, which come, and in what order they stand."""

    gone: frozenset[int]
    changed: frozenset[int]
    new: int
    turned: bool


places = st.frozensets(st.integers(0, 11), max_size=4)
steps = st.lists(
    st.builds(Step, gone=places, changed=places, new=st.integers(0, 6), turned=st.booleans()), max_size=5
)


def polls(taken: Sequence[Step]) -> Iterator[Snapshot]:
    """The snapshots that such polls leave; unchanged jobs are the same objects, as polling hands them on."""
    jobs: list[TrackedJob] = []
    count = 0
    for step in taken:
        jobs = [
            dataclasses.replace(self_metrics, usage=JobUsage(cpu_ratio=count / 64))
            if at in step.changed
            else self_metrics
            for at, self_metrics in enumerate(jobs)
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
        if step.turned:
            jobs.reverse()
        yield snapshot(*jobs)


@given(steps, st.sampled_from([10**6, 150, 90, 70, 40]))
@settings(max_examples=60)
def test_rendering_forgets(taken: Sequence[Step], limit: int) -> None:
    """After any history of jobs coming, changing, moving and going, limit or not, the result is a new renderer's."""

    def made() -> Renderer:
        return Renderer(JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES, max_series_per_project=limit)

    renderer = made()
    for newest in polls(taken):
        assert renderer.render(newest) == made().render(newest)


def test_unchanged_jobs_are_not_written_again() -> None:
    """Only the job that is another object than last time is asked for its samples again."""
    asked: list[str] = []

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        asked.append(tracked.job.job_id)
        return (({}, 1.0),)

    renderer = Renderer([family("modelarts_x", samples)], ())
    first, second = job("j1"), job("j2")
    renderer.render(snapshot(first, second))
    asked.clear()

    renderer.render(snapshot(first, dataclasses.replace(second)))

    assert asked == ["j2"]


def test_unchanged_family_keeps_its_bytes() -> None:
    """A body in which nothing changed is the same object, so that nobody compresses it again."""
    renderer = Renderer(JOB_FAMILIES, ())
    before = renderer.render(snapshot(job(submitted_at=5.0)))

    after = renderer.render(snapshot(job(submitted_at=5.0, run_duration_s=3.0)))

    kept = {block.head_text: block.body for block in before.blocks}
    assert all(block.body is kept[block.head_text] for block in after.blocks if block.head_text in kept)
    assert len(after.blocks) == len(before.blocks) + 1  # the run duration has come


def test_many_jobs_at_once() -> None:
    """More jobs than are written in one go come out complete and in order, with a change in their midst."""
    jobs = [job(f"j{number}") for number in range(1500)]
    renderer = Renderer([family("modelarts_x", one(1.0))], ())
    renderer.render(snapshot(*jobs))
    jobs[700] = dataclasses.replace(jobs[700])

    rendered = renderer.render(snapshot(*jobs))

    expected = [f'modelarts_x{{project="vision",job_id="j{number}"}} 1' for number in range(1500)]
    assert lines(rendered) == expected


def test_vanished_job_vanishes() -> None:
    """A job that is no longer in the snapshot has no line left."""
    renderer = Renderer(JOB_FAMILIES, PROJECT_FAMILIES)
    renderer.render(snapshot(job("gone"), job("here")))

    rendered = renderer.render(snapshot(job("here")))

    assert b'job_id="gone"' not in rendered.text
    assert b'job_id="here"' in rendered.text


def test_hidden_job_has_no_series_but_counts() -> None:
    """A job that a filter hides is in the project's aggregates only."""
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(snapshot(job(shown=False, status=JobStatus.QUEUED)))

    assert b"job_id=" not in rendered.text
    assert b'modelarts_training_jobs{project="vision",pool_id="",status="queued"} 1\n' in rendered.text


def test_withdrawn_project_keeps_its_counters() -> None:
    """While jobs are withdrawn, neither their series nor the counts of them are told, only what was counted."""
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(
        Snapshot(taken_at=0.0, projects=(ProjectSnapshot(project="vision", jobs=None),))
    )

    assert {line.partition("{")[0] for line in lines(rendered)} == {
        "modelarts_training_jobs_submitted_total",
        "modelarts_training_jobs_started_total",
        "modelarts_training_jobs_finished_total",
    }


def test_family_without_samples_is_left_out() -> None:
    """No header stands above nothing."""
    rendered = Renderer([family("modelarts_x", lambda _: ()), family("modelarts_yy", one(2.0))], ()).render(
        snapshot(job())
    )

    assert rendered.text.startswith(b"# HELP modelarts_yy ")
    assert Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(Snapshot(taken_at=0.0)).text == b""


def test_failing_family_costs_only_its_own_samples() -> None:
    """A family that raises for one job loses its samples of that job, is counted, and spoils nothing else."""

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
        pytest.param(({"task": None}, 1.0), id="label value that is no text"),
        pytest.param(({"task": "a"}, "much"), id="value that is no number"),
    ],
)
def test_impossible_sample_is_refused(sample: Any) -> None:
    """What would not be a valid line is counted as failed instead of written."""
    rendered = Renderer([family("modelarts_x", lambda _: (sample,), "task")], ()).render(snapshot(job()))

    assert (rendered.text, rendered.failed) == (b"", 1)


@given(snapshots)
@settings(max_examples=40)
def test_asking_all_at_once_tells_what_asking_one_by_one_tells(newest: Snapshot) -> None:
    """A family told in parts is written as if its function were called for each job by itself."""

    def plain(declared: Family[TrackedJob]) -> Family[TrackedJob]:
        samples = declared.samples
        assert samples is not None
        return dataclasses.replace(declared, samples=lambda tracked: iter(samples(tracked)))

    assert any(isinstance(declared.samples, SingleSample) for declared in JOB_FAMILIES)
    assert Renderer(JOB_FAMILIES, ()).render(newest) == Renderer(list(map(plain, JOB_FAMILIES)), ()).render(newest)


def unless_bad(good: Any, bad: Any = None) -> Any:
    """A function of a job that gives `good`, and `bad` for the job of that name; None: it raises for that one."""

    def give(tracked: TrackedJob) -> Any:
        if tracked.job.job_id != "bad":
            return good
        if bad is None:
            raise ZeroDivisionError
        return bad

    return give


def itself(tracked: TrackedJob) -> TrackedJob:
    """The whole subject as the part a value is read from."""
    return tracked


A_TASK = {"task": "a"}


@pytest.mark.parametrize(
    "part, value, labels",
    [
        pytest.param(unless_bad(1), lambda _: True, unless_bad(A_TASK, A_TASK), id="part"),
        pytest.param(itself, unless_bad(1), unless_bad(A_TASK, A_TASK), id="value"),
        pytest.param(itself, unless_bad(1, "x"), unless_bad(A_TASK, A_TASK), id="text as value"),
        pytest.param(itself, unless_bad(1, 1), unless_bad(A_TASK), id="labels"),
        pytest.param(itself, unless_bad(1, 1), unless_bad(A_TASK, {"other": "a"}), id="undeclared label"),
    ],
)
def test_impossible_job_costs_a_family_told_in_parts_only_its_own_sample(part: Any, value: Any, labels: Any) -> None:
    """When some of the jobs asked at once cannot be told, the others are, and the failures are counted."""
    single: SingleSample[TrackedJob, Any] = SingleSample(part=part, value=value, labels=labels)
    refusing = family("modelarts_x", single, "task")

    rendered = Renderer([refusing, family("modelarts_yy", one(2.0))], ()).render(snapshot(job("bad"), job("good")))

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="good",task="a"} 1',
        'modelarts_yy{project="vision",job_id="bad"} 2',
        'modelarts_yy{project="vision",job_id="good"} 2',
    ]
    assert (rendered.failed, rendered.series) == (1, {"vision": 3})


def test_parts_are_asked_once_for_all_families() -> None:
    """Families that share a part and labels have each job looked at once, however many they are."""
    asked: list[str] = []

    def part(tracked: TrackedJob) -> TrackedJob:
        asked.append(tracked.job.job_id)
        return tracked

    single = SingleSample(part=part, value=lambda _: 1.0)

    Renderer([family(f"modelarts_x{letter}", single) for letter in "abc"], ()).render(snapshot(job("j1"), job("j2")))

    assert asked == ["j1", "j2"]


def test_repeated_labels_are_told_once() -> None:
    """The first of several samples with the same labels is kept, the others are counted."""
    samples = (({"task": "a"}, 1.0), ({"task": "b"}, 2.0), ({"task": "a"}, 3.0), ({"task": "a"}, 4.0))

    rendered = Renderer([family("modelarts_x", lambda _: samples, "task")], ()).render(snapshot(job()))

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="j1",task="a"} 1',
        'modelarts_x{project="vision",job_id="j1",task="b"} 2',
    ]
    assert rendered.failed == 2


def test_look_alikes_are_told_once() -> None:
    """Ids that differ only in what cannot be told would give the same series: the second job is counted, not told."""
    rendered = Renderer([family("modelarts_x", one(1.0))], ()).render(snapshot(job("a\ud800"), job("a\ud801")))

    assert lines(rendered) == ['modelarts_x{project="vision",job_id="a\ufffd"} 1']
    assert rendered.failed == 1


def test_project_named_twice_is_told_once() -> None:
    """A second project of the same name would repeat every series of the first."""
    first, second = told(job("j1")), told(job("j2"))

    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES).render(Snapshot(taken_at=0.0, projects=(first, second)))

    assert b"j2" not in rendered.text
    assert rendered.failed == 1


def test_job_of_another_project_is_told_once() -> None:
    """A job that two projects both hold is rendered where it comes first."""
    rendered = Renderer([family("modelarts_x", one(1.0))], ()).render(
        Snapshot(taken_at=0.0, projects=(told(job("j1")), told(job("j1"), job("j2"), project="speech")))
    )

    assert lines(rendered) == [
        'modelarts_x{project="vision",job_id="j1"} 1',
        'modelarts_x{project="vision",job_id="j2"} 1',
    ]


def test_job_labels_follow_the_identity() -> None:
    """Labels asked for are copied from the info to every other job series, in the order asked for, once each."""
    renderer = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, job_labels=["user", "pool_id", "user"])

    written = lines(renderer.render(snapshot(job(user='a"b', pool_id="p1"))))

    assert (
        'modelarts_training_job_status{project="vision",job_id="j1",user="a\\"b",pool_id="p1",status="unknown"} 1'
        in (written)
    )
    assert [line.count("user=") for line in written if line.startswith("modelarts_training_job_")] == [1, 1]


def test_job_label_gives_way_to_a_label_of_the_family() -> None:
    """A family with a label of that name of its own tells its own, because no line can have it twice."""
    renderer = Renderer(JOB_FAMILIES, (), job_labels=["accelerator"])

    rendered = renderer.render(snapshot(job(accelerator=Accelerator.NPU, spec_nodes=1, spec_accelerators=8.0)))

    assert 'modelarts_training_job_spec_nodes{project="vision",job_id="j1",accelerator="npu"} 1' in lines(rendered)
    assert 'modelarts_training_job_spec_accelerators{project="vision",job_id="j1",accelerator="npu"} 8' in lines(
        rendered
    )


def test_job_label_of_a_job_without_info_is_empty() -> None:
    """Where the info says nothing of a job, the copied label is there and empty."""
    info = family("modelarts_x", lambda _: (), "user", kind=Type.INFO)

    rendered = Renderer([info, family("modelarts_yy", one(1.0))], (), job_labels=["user"]).render(snapshot(job()))

    assert lines(rendered) == ['modelarts_yy{project="vision",job_id="j1",user=""} 1']


def test_job_that_cannot_be_named_costs_only_itself() -> None:
    """When the info raises for a job whose labels were to be copied, the other jobs are rendered all the same."""

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        return (({"user": "u" * (1 // len(tracked.job.name))}, 1.0),)

    info = family("modelarts_x", samples, "user", kind=Type.INFO)
    renderer = Renderer([info, family("modelarts_yy", one(1.0))], (), job_labels=["user"])

    rendered = renderer.render(snapshot(job("j1", name=""), job("j2", name="n")))

    assert lines(rendered) == [
        'modelarts_x_info{project="vision",job_id="j2",user="u"} 1',
        'modelarts_yy{project="vision",job_id="j2",user="u"} 1',
    ]
    assert rendered.failed == 2  # the info itself, and the naming of the job for the others


@pytest.mark.parametrize(
    "families, labels, match",
    [
        pytest.param(
            JOB_FAMILIES, ["shoe_size"], r"no labels of the job's info: shoe_size; there are job_name,", id="label"
        ),
        pytest.param([JOB_FAMILIES[1]], ["user"], "user", id="no info"),
        pytest.param([JOB_FAMILIES[0]] * 2, [], "declared twice", id="family twice"),
        pytest.param([family("modelarts_x", None)], [], "modelarts_x", id="own instrument"),
    ],
)
def test_impossible_renderer_is_refused(families: Any, labels: Any, match: str) -> None:
    """What could never be rendered is refused when the renderer is made, by name."""
    with pytest.raises(ValueError, match=match):
        Renderer(families, (), job_labels=labels)


BARE = [family("modelarts_x", one(1.0))]
TASKS = [
    family(
        "modelarts_task",
        lambda tracked: (({"task": task.task}, 1.0) for task in (tracked.usage.tasks if tracked.usage else ())),
        "task",
    )
]
USED = [
    *BARE,
    family("modelarts_used", lambda tracked: () if tracked.usage is None else (({}, 1.0),)),
]


def using(*tasks: str) -> JobUsage:
    """A reading of such tasks."""
    return JobUsage(tasks=tuple(TaskUsage(task=task) for task in tasks))


@pytest.mark.parametrize(
    "limit, expected",
    [
        pytest.param(12, {"old": 1, "late": 1, "big": 5, "small": 3, "young": 2}, id="room for all 12"),
        pytest.param(11, {"late": 1, "big": 5, "small": 3, "young": 2}, id="the job that ended first goes"),
        pytest.param(10, {"big": 5, "small": 3, "young": 2}, id="then the one that ended later"),
        pytest.param(9, {"big": 2, "small": 3, "young": 2}, id="then the tasks of the job with most of them"),
        pytest.param(6, {"big": 2, "small": 2, "young": 2}, id="then the other's task"),
        pytest.param(5, {"big": 2, "small": 2, "young": 1}, id="then the usage of the newest job"),
        pytest.param(3, {"big": 1, "small": 1, "young": 1}, id="then everybody's"),
        pytest.param(2, {"big": 1, "small": 1}, id="at last whole jobs, the newest first"),
        pytest.param(0, {}, id="room for none"),
    ],
)
def test_limit_drops_what_is_missed_least(limit: int, expected: dict[str, int]) -> None:
    """Finished jobs go first, then tasks, then usage, then whole jobs; what was left out is counted."""
    jobs = [
        job("old", status=JobStatus.FAILED, ended_at=10.0),
        job("late", status=JobStatus.COMPLETED, ended_at=20.0),
        job("big", status=JobStatus.RUNNING, submitted_at=1.0, usage=using("a", "b", "c")),
        job("small", status=JobStatus.RUNNING, submitted_at=2.0, usage=using("a")),
        job("young", status=JobStatus.RUNNING, submitted_at=3.0, usage=using()),
    ]
    renderer = Renderer(USED, (), per_task_families=TASKS, max_series_per_project=limit)

    rendered = renderer.render(snapshot(*jobs))

    written = lines(rendered)
    counts = {
        self_metrics.job.job_id: sum(f'job_id="{self_metrics.job.job_id}"' in line for line in written)
        for self_metrics in jobs
    }
    assert {job_id: count for job_id, count in counts.items() if count} == expected
    assert rendered.series == {"vision": len(written)}
    assert rendered.dropped == {"vision": 12 - len(written)}  # 1 + 1 + (2 + 3) + (2 + 1) + 2 = 12


def test_limit_counts_each_project_by_itself() -> None:
    """A crowded project costs another one nothing."""
    crowded = told(job("j1"), job("j2"), job("j3"))
    quiet = told(job("j4", project="speech"), project="speech")

    rendered = Renderer(BARE, (), max_series_per_project=2).render(Snapshot(taken_at=0.0, projects=(crowded, quiet)))

    assert rendered.series == {"vision": 2, "speech": 1}
    assert rendered.dropped == {"vision": 1, "speech": 0}


def test_aggregates_are_never_dropped() -> None:
    """Aggregates take their room first, and stay when there is none."""
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, max_series_per_project=1).render(snapshot(job()))

    assert b"job_id=" not in rendered.text
    assert b'modelarts_training_jobs{project="vision",pool_id="",status="unknown"} 1\n' in rendered.text
    assert rendered.dropped == {"vision": 2}  # info and status


def test_limit_forgets_what_left() -> None:
    """Once there is room again, everything is back."""
    renderer = Renderer(BARE, (), max_series_per_project=1)
    staying, leaving = job("j2", submitted_at=2.0), job("j1", submitted_at=1.0)
    assert renderer.render(snapshot(leaving, staying)).dropped == {"vision": 1}

    rendered = renderer.render(snapshot(staying))

    assert lines(rendered) == ['modelarts_x{project="vision",job_id="j2"} 1']
    assert rendered.dropped == {"vision": 0}


def test_jobs_beyond_the_limit_are_not_written_again() -> None:
    """A job left out last time, and unchanged, is neither written nor weighed again."""
    asked: list[str] = []

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        asked.append(tracked.job.job_id)
        return (({}, math.pi),)

    renderer = Renderer([family("modelarts_x", samples)], (), max_series_per_project=2)
    jobs = [job(f"j{number}", status=JobStatus.COMPLETED, ended_at=1.0 * number) for number in range(4)]
    renderer.render(snapshot(*jobs))
    asked.clear()

    rendered = renderer.render(Snapshot(taken_at=1.0, projects=(told(*jobs),)))

    assert asked == []
    assert [line[-23:] for line in lines(rendered)] == ['"j2"} 3.141592653589793', '"j3"} 3.141592653589793']


@pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed; CI has it"
)
def test_promtool_finds_nothing_to_say() -> None:
    """`promtool check metrics` accepts every family with a sample, and has no advice."""
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
        reason="Running",
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
    )
    rendered = Renderer(JOB_FAMILIES, PROJECT_FAMILIES, per_task_families=TASK_FAMILIES).render(
        snapshot(running, waiting, totals=totals)
    )

    said = subprocess.run(["promtool", "check", "metrics"], input=rendered.text, capture_output=True, check=False)

    assert len(rendered.blocks) == len(WHOLE)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")
