"""The output file: byte for byte for a small history, and with the strict parser for any."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.backfill.grid import Grid
from exporter.backfill.journal import Journal
from exporter.backfill.write import OutputFormat, ProjectSelection, Writer
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries
from exporter.metrics.catalog import TASK_FAMILIES
from tests.unit.backfill.past import T0, jobs, ran

GRID = Grid.covering(T0, T0 + 400, step=100)
SERIES = TaskSeries(task="worker-0", cpu=[0.5, 0.25, None], accelerator=[0.75, 1.0, None])


def kept(folder: Path, *past: Job, series: tuple[TaskSeries, ...] = ()) -> Journal:
    """A journal of these jobs, all with the same samples."""
    journal = Journal(folder / "journal")
    pasts = [HistoricJob(job=one, series=series) for one in past]
    journal.save_page(
        "vision", Api.V2, HistoryPage(jobs=tuple(pasts), cursor=""), at=T0 + 5000, keep=[(p, False) for p in pasts]
    )
    return journal


def form(**changed: Any) -> OutputFormat:
    return OutputFormat(**{"grid": GRID, "retention_s": 200.0, **changed})


def lines(path: Path) -> list[str]:
    """Sample lines, times as seconds after T0."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            rest, at = line.rsplit(" ", 1)
            found.append(f"{rest} {float(at) - T0:g}")
    return found


def written(folder: Path, journal: Journal, how: OutputFormat, **subject: Any) -> Path:
    output = folder / "history.om"
    with journal:
        Writer(how, journal=journal, spool=folder / "spool").write(
            output, [ProjectSelection(project="vision", **subject)]
        )
    return output


def test_a_small_history_byte_for_byte(tmp_path: Path) -> None:
    """Submitted at 0, started at 100, completed at 250 with two minutes of usage: every line of the job, in order."""
    past = ran("j1", begin=0, wait=100, run=150, user="ada", name="night", tasks=("worker-0",))
    output = written(tmp_path, kept(tmp_path, past, series=(SERIES,)), form())

    own = 'project="vision",job_id="j1"'
    info = (
        f'modelarts_training_job_info{{{own},job_name="night",version="",parent_job_id="",user="ada",'
        'workspace_id="",pool_id="",flavor="",accelerator="gpu",accelerator_model="",engine="",api="v2",kind="",'
        'runtime_type="",preemptible=""} 1'
    )
    assert [line for line in lines(output) if "job_id" in line] == [
        *(f"{info} {at}" for at in (0, 100, 200, 300)),
        f'modelarts_training_job_status{{{own},status="queued"}} 1 0',
        f'modelarts_training_job_status{{{own},status="running"}} 1 100',
        f'modelarts_training_job_status{{{own},status="running"}} 1 200',
        f'modelarts_training_job_status{{{own},status="completed"}} 1 300',
        f'modelarts_training_job_status_accelerators{{{own},accelerator="gpu"}} 0 0',
        f'modelarts_training_job_status_accelerators{{{own},accelerator="gpu"}} 8 100',
        f'modelarts_training_job_status_accelerators{{{own},accelerator="gpu"}} 8 200',
        f'modelarts_training_job_status_accelerators{{{own},accelerator="gpu"}} 0 300',
        f"modelarts_training_job_cpu_utilization_ratio{{{own}}} 0.5 160",
        f"modelarts_training_job_cpu_utilization_ratio{{{own}}} 0.25 220",
        f'modelarts_training_job_accelerator_utilization_ratio{{{own},accelerator="gpu"}} 0.75 160',
        f'modelarts_training_job_accelerator_utilization_ratio{{{own},accelerator="gpu"}} 1 220',
        f'modelarts_training_job_accelerator_utilization_min_ratio{{{own},accelerator="gpu"}} 0.75 160',
        f'modelarts_training_job_accelerator_utilization_min_ratio{{{own},accelerator="gpu"}} 1 220',
    ]
    pool = 'project="vision",pool_id=""'
    assert [line for line in lines(output) if line.startswith("modelarts_training_accelerators")] == [
        f'modelarts_training_accelerators{{{pool},accelerator="gpu",state="{state}"}} {value} {at}'
        for state, values in (("held", (0, 8, 8, 0)), ("queued", (8, 0, 0, 0)))
        for at, value in zip((0, 100, 200, 300), values, strict=True)
    ]
    text = output.read_text(encoding="utf-8")
    assert text.startswith("# HELP modelarts_training_job Always 1;")
    assert "# TYPE modelarts_training_jobs_finished counter\n" in text
    assert text.endswith("\n# EOF\n")


def test_what_the_settings_hide_stays_hidden(tmp_path: Path) -> None:
    """A hidden job has no series but is counted; a masked user is masked."""
    past = [ran("seen", begin=0, run=100, user="ada"), ran("hidden", begin=0, run=100, user="eve")]
    output = written(
        tmp_path,
        kept(tmp_path, *past),
        form(),
        shows=lambda one: one.job_id != "hidden",
        mask_user=lambda one: replace(one, user="f00"),
    )

    text = output.read_text(encoding="utf-8")
    assert '"hidden"' not in text
    assert 'user="f00"' in text
    assert 'modelarts_training_jobs{project="vision",pool_id="",status="running"} 2 0' in lines(output)


def test_labels_are_copied_and_added_as_asked(tmp_path: Path) -> None:
    """`metrics.job_labels` on the job's other series, --label on every series."""
    output = written(
        tmp_path,
        kept(tmp_path, ran(begin=0, run=100, user="ada")),
        form(job_labels=("user",), extra_labels=(("job", "modelarts"), ("instance", 'a"b'))),
    )

    found = lines(output)
    assert all('{job="modelarts",instance="a\\"b",project="vision"' in line for line in found)
    assert any(
        line.startswith("modelarts_training_job_status{") and 'job_id="j1",user="ada",status=' in line
        for line in found
    )
    assert sum(line.count('user="ada"') for line in found if "_info{" in line) == 2


def test_aggregates_only(tmp_path: Path) -> None:
    """Without series of the jobs, only the project's series are written."""
    output = written(tmp_path, kept(tmp_path, ran(begin=0, run=100)), form(per_job=False))

    assert {line.split("{")[0] for line in lines(output)} == {
        "modelarts_training_jobs",
        "modelarts_training_accelerators",
        "modelarts_training_jobs_submitted_total",
        "modelarts_training_jobs_started_total",
        "modelarts_training_jobs_finished_total",
    }


def test_task_series_are_grouped(tmp_path: Path) -> None:
    """With `metrics.per_task` the samples of each task are grouped, as OpenMetrics requires."""
    both = (SERIES, TaskSeries(task="worker-1", cpu=[0.5, 0.25, None]))
    past = ran(begin=0, run=130, tasks=("worker-0", "worker-1"))
    output = written(tmp_path, kept(tmp_path, past, series=both), form(families=TASK_FAMILIES))

    tasks = [line.split('task="')[1][:8] for line in lines(output) if "_task_cpu_" in line]
    assert tasks == ["worker-0"] * 2 + ["worker-1"] * 2


def test_split_files_contain_the_same_samples(tmp_path: Path) -> None:
    """Windows begin at multiples of their length and contain their own range; no sample is lost or duplicated."""
    past = [ran("j1", begin=0, wait=100, run=150), ran("j2", begin=90, run=400)]
    (tmp_path / "one").mkdir()
    whole = sorted(lines(written(tmp_path / "one", kept(tmp_path / "one", *past), form())))
    with kept(tmp_path, *past) as journal:
        writer = Writer(form(split_s=200.0), journal=journal, spool=tmp_path / "spool")
        found = writer.write(tmp_path / "history.om", [ProjectSelection(project="vision")])

    assert [path.name for path in found.output_files] == [
        "history-20231114T221320Z.om",
        "history-20231114T221640Z.om",
    ]
    parts = [lines(path) for path in found.output_files]
    assert [{float(line.rsplit(" ", 1)[1]) // 200 for line in part} for part in parts] == [{0}, {1}]
    assert sorted(line for part in parts for line in part) == whole
    assert found.samples == len(whole)


def test_an_interruption_keeps_the_old_output(tmp_path: Path) -> None:
    """The output is complete when it appears; until then an older file is unchanged. No temporary file is left."""
    output = tmp_path / "history.om"
    output.write_text("older", encoding="utf-8")

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with kept(tmp_path, ran(begin=0, run=100)) as journal:
        writer = Writer(form(), journal=journal, spool=tmp_path / "spool", on_progress=stop)
        with pytest.raises(KeyboardInterrupt):
            writer.write(output, [ProjectSelection(project="vision")])

    assert output.read_text(encoding="utf-8") == "older"
    assert not (tmp_path / ".history.om.draft").exists()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    many=jobs,
    samples=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=90),
)
def test_any_history_passes_the_strict_parser(
    many: list[Job], samples: list[float | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """OpenMetrics' rules hold: families and series are grouped, times increase, counters end in _total."""
    folder = tmp_path_factory.mktemp("past")
    series = (TaskSeries(task="worker-0", cpu=samples, accelerator=samples),)
    grid = Grid.covering(T0 - 1000, T0 + 2000, step=300)
    output = written(folder, kept(folder, *many, series=series), form(grid=grid))

    seen = set()
    for family in text_string_to_metric_families(output.read_text(encoding="utf-8")):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            key = (sample.name, tuple(sample.labels.items()), float(sample.timestamp))
            assert key not in seen
            assert grid.first <= float(sample.timestamp) < grid.timestamp(grid.count)
            seen.add(key)
    assert seen


def test_gauges_end_a_look_back_before_the_live_series(tmp_path: Path) -> None:
    """Sums over history and live series never double: gauges stop 300 s earlier, counters go on to the end."""
    grid = Grid.covering(T0, T0 + 1000, step=100)
    past = ran("j1", begin=0, run=5000, tasks=("worker-0",))
    series = (TaskSeries(task="worker-0", cpu=[0.5] * 83 + [None]),)
    output = written(tmp_path, kept(tmp_path, past, series=series), form(grid=grid, live_from=T0 + 1000))

    last: dict[str, float] = {}
    for line in lines(output):
        name = line.split("{")[0]
        last[name] = max(last.get(name, 0.0), float(line.rsplit(" ", 1)[1]))
    counters = {name: at for name, at in last.items() if name.endswith("_total")}
    assert set(counters.values()) == {900.0}
    assert {at for name, at in last.items() if name not in counters} <= {600.0, 660.0}
    assert last["modelarts_training_jobs"] == 600.0
    assert last["modelarts_training_job_cpu_utilization_ratio"] <= 700.0
