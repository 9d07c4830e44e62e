import time
import tracemalloc

from exporter.simulator import Options, World

NOW = 1_700_000_000.0


def test_history() -> None:
    """There are exactly `history` finished jobs, spread over 90 days, and none of them is in the totals."""
    world = World(Options(jobs=0, history=900), now=NOW)
    ages = [(NOW - job.submitted_at) / 86_400 for job in world.jobs]

    assert len(world.jobs) == 900
    assert all(job.state.finished for job in world.jobs)
    assert 85 <= max(ages) <= 90
    for begin in range(0, 90, 10):  # ten jobs a day
        assert 60 <= sum(begin <= age < begin + 10 for age in ages) <= 140
    totals = world.ground_truth()
    assert totals.finished.total() == totals.submitted.total() == 0
    assert not totals.held_s


def test_memory_of_history() -> None:
    """A finished job takes less than 3 kB, so that 100 000 take less than 300 MB."""
    tracemalloc.start()
    try:
        world = World(Options(jobs=0, history=1_500), now=NOW)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(world.jobs) == 1_500
    assert size / 1_500 < 3_000


def test_repeated_listings_are_cached() -> None:
    """Another listing of an unchanged world takes a small fraction of the first one's time."""
    job_index = World(Options(jobs=0, history=1_500), now=NOW).project().job_index("v2")

    def listing_s() -> float:
        begin = time.process_time()
        job_index.cached("all", lambda: [job for job in job_index.newest_first() if job.workspace == "0"])
        return time.process_time() - begin

    first = listing_s()
    assert min(listing_s() for _ in range(100)) < first / 5
