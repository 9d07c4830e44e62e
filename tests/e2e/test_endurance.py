"""Two hours of the soak, with the same code: what a week proves has to hold for an afternoon in every run."""

from pathlib import Path

from soak.cloud import HOUR_S, Churn
from soak.week import Course, Week


async def test_two_hours_of_churn_faults_and_restarts(tmp_path: Path) -> None:
    """Totals are the cloud's own, no counter goes back, no file, socket or task is left, nothing went unawaited."""
    course = Course(
        duration_s=2 * HOUR_S,
        usage_s=HOUR_S,
        fault_probability=0.9,
        restart_s=HOUR_S / 2,
        seed=3,
        churn=Churn(jobs_a_day=6_000, pace=20, seed=3),
    )
    report = await Week(course, folder=tmp_path, tell=lambda _: None).run()

    assert report.counted == report.true
    assert report.backward == []
    assert report.complaints == []
    assert (report.files_left, report.tasks_left) == (0, 0)
    assert sum(report.true.finished.values()) > 400  # 2 hours of 250 an hour
    assert report.restarts >= 3
    assert report.kills >= 1
    assert sum(report.faults.values()) >= 1
