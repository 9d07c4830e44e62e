import time
import tracemalloc

from exporter.simulator import Options, World

NOW = 1_700_000_000.0


def test_history_is_exact_and_spread() -> None:
    """History has exactly so many finished jobs, the oldest 90 days old, in the order of submission."""
    world = World(Options(jobs=0, history=900), now=NOW)
    submitted = [job.submitted_at for job in world.project().job_index("v2").oldest_first()]

    assert len(world.jobs) == 900
    assert all(job.state.finished for job in world.jobs)
    assert submitted == sorted(submitted)
    ages = sorted((NOW - job.submitted_at) / 86_400 for job in world.jobs)
    assert ages[-1] <= 90
    assert ages[-1] >= 85
    # ten a day: no ten-day stretch is empty, none has more than its share
    for begin in range(0, 90, 10):
        assert 60 <= sum(begin <= age < begin + 10 for age in ages) <= 140


def test_history_is_not_in_the_books() -> None:
    """What ended before the world began was never counted."""
    totals = World(Options(jobs=0, history=500), now=NOW).ground_truth()

    assert totals.finished.total() == totals.submitted.total() == 0
    assert not totals.held_s


def test_history_is_cheap() -> None:
    """A finished job of the past takes less than 3 kB, so that 100 000 take less than 300 MB."""
    tracemalloc.start()
    try:
        world = World(Options(jobs=0, history=1_500), now=NOW)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(world.jobs) == 1_500
    assert size / 1_500 < 3_000


def test_paging_through_history_does_not_sort_it() -> None:
    """The hundredth listing of an unchanged world costs a small part of the first one."""
    job_index = World(Options(jobs=0, history=1_500), now=NOW).project().job_index("v2")

    def listed() -> float:
        begin = time.process_time()
        job_index.cached("all", lambda: [job for job in job_index.newest_first() if job.workspace == "0"])
        return time.process_time() - begin

    first = listed()
    assert min(listed() for _ in range(100)) < first / 5
