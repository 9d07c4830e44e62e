"""Accounts: what of a job counts, once, and under which key."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.accounting import Holder
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.recovery import POLICIES, RESULTS, SCENARIOS
from exporter.domain.snapshot import Totals
from exporter.polling.accounting import OTHER, Account, Accounts, AccountState

T0 = 1_700_000_000.0
ANN = Holder("", "ann", Accelerator.GPU)


def job(run_s: float | None = None, **facts: Any) -> Job:
    """Ann's job on 8 GPUs, submitted 90 s before it started; running when it has run."""
    usual: dict[str, Any] = {
        "user": "ann",
        "accelerator": Accelerator.GPU,
        "spec_accelerators": 8.0,
        "spec_nodes": 1,
        "submitted_at": T0 - 90,
        "started_at": None if run_s is None else T0,
        "run_duration_s": run_s,
        "status": JobStatus.QUEUED if run_s is None else JobStatus.RUNNING,
    }
    return Job(job_id="j", api=facts.pop("api", Api.V2), **(usual | facts))


def totals_of(accounts: Accounts, mask_user: Callable[[str], str] = str) -> Totals:
    """Return everything counted so far."""
    return accounts.freeze(Totals(), mask_user=mask_user)


def run_through(*states: Job, is_new: bool = True, accounts: Accounts | None = None) -> Totals:
    """Account for a job that is polled in these states."""
    accounts = accounts or Accounts(max_users=10)
    first = states[0]
    started = first.run_duration_s is not None or first.status is JobStatus.RUNNING
    account = Account.opened(first, is_new=is_new, started=started)
    for state in states:
        account.update(state, accounts)
    return totals_of(accounts)


def counted(totals: Totals) -> tuple[float, float, int, int]:
    """Return the seconds held and lost, and the number of waits and runs."""
    return (
        sum(totals.held_s.values()),
        sum(totals.lost_s.values()),
        sum(sum(wait.counts) for wait in totals.waits.values()),
        sum(sum(run.counts) for run in totals.runs.values()),
    )


ENDED = {"status": JobStatus.COMPLETED, "ended_at": T0 + 100}


@pytest.mark.parametrize(
    "is_new, states, expected",
    [
        pytest.param(True, [job()], (0, 0, 0, 0), id="waiting holds nothing"),
        pytest.param(True, [job(), job(10)], (80, 0, 1, 0), id="a start"),
        pytest.param(True, [job(10), job(30)], (240, 0, 1, 0), id="running on"),
        pytest.param(True, [job(100, **ENDED)], (800, 0, 1, 1), id="started and ended between two polls"),
        pytest.param(True, [job(100, status=JobStatus.FAILED)], (800, 800, 1, 1), id="failed: all of it is lost"),
        pytest.param(True, [job(30), job(20), job(40)], (320, 0, 1, 0), id="the cloud corrects it downwards"),
        pytest.param(
            True,
            [job(10), job(20, status=JobStatus.LOST), job(30), job(40, **ENDED)],
            (320, 160, 1, 1),
            id="lost, and back",
        ),
        pytest.param(True, [job(status=JobStatus.FAILED)], (0, 0, 0, 0), id="never started"),
        pytest.param(False, [job()], (0, 0, 0, 0), id="history: waiting"),
        pytest.param(False, [job(), job(10)], (80, 0, 1, 0), id="history: started after the first poll"),
        pytest.param(False, [job(1000), job(1010)], (80, 0, 0, 0), id="history: what it had run does not count"),
        pytest.param(
            False, [job(1000), job(1010, status=JobStatus.FAILED)], (80, 80, 0, 1), id="history: ended since"
        ),
        pytest.param(False, [job(100, **ENDED), job(100, **ENDED)], (0, 0, 0, 0), id="history: had ended"),
        pytest.param(
            False, [job(None, **ENDED), job(100, **ENDED)], (0, 0, 0, 0), id="history: had ended, reported in parts"
        ),
        pytest.param(
            False,
            [job(None, status=JobStatus.RUNNING, started_at=T0), job(500), job(510)],
            (80, 0, 0, 0),
            id="history: its run time was reported later",
        ),
    ],
)
def test_what_of_a_job_counts(is_new: bool, states: list[Job], expected: tuple[float, ...]) -> None:
    """By the job's own times: everything of a job submitted since the first poll, of others only what follows it."""
    assert counted(run_through(*states, is_new=is_new)) == expected


@pytest.mark.parametrize(
    "facts, holder",
    [
        pytest.param({}, ANN, id="user, public pool, GPU"),
        pytest.param({"pool_id": "p"}, Holder("p", "ann", Accelerator.GPU), id="dedicated pool"),
        pytest.param({"user": ""}, Holder("", "", Accelerator.GPU), id="nameless"),
        pytest.param({"accelerator": None}, Holder("", "ann", None), id="masked accelerators"),
        pytest.param({"spec_accelerators": None}, None, id="an unknown number is not 0"),
        pytest.param({"accelerator": Accelerator.CPU, "spec_accelerators": 0.0}, None, id="CPU only"),
    ],
)
def test_under_which_key_it_counts(facts: dict[str, Any], holder: Holder | None) -> None:
    """The key consists of the job's own values; a job without accelerators has none."""
    assert list(run_through(job(10, **facts)).held_s) == ([] if holder is None else [holder])


@given(
    lengths=st.lists(st.floats(0, 1e5).map(lambda s: round(s, 3)), min_size=1, max_size=6).map(sorted),
    failed=st.booleans(),
    restarts=st.sets(st.integers(0, 6)),
)
def test_the_number_of_polls_does_not_matter(lengths: list[float], failed: bool, restarts: set[int]) -> None:
    """Polled once at its end, or many times and across restarts: the totals are the same."""
    end = JobStatus.FAILED if failed else JobStatus.COMPLETED
    states = [*(job(run_s) for run_s in lengths[:-1]), job(lengths[-1], status=end)]
    accounts = Accounts(max_users=10)
    account = Account.opened(states[0], is_new=True, started=True)
    for number, poll in enumerate(states):
        if number in restarts:
            account = Account(account.dump())
            state, accounts = accounts.dump(), Accounts(max_users=10)
            accounts.restore(state)
        account.update(poll, accounts)
    once, often = run_through(states[-1]), totals_of(accounts)

    assert often.held_s[ANN] == pytest.approx(once.held_s[ANN])
    assert often.lost_s[ANN] == pytest.approx(once.lost_s[ANN])
    assert (often.waits, often.runs) == (once.waits, once.runs)


def test_seconds_wait_for_the_users_name() -> None:
    """In v1 the name takes a call of its own: seconds held meanwhile count under the name once it is known."""
    nameless = job(10, api=Api.V1, user="")

    assert run_through(nameless, replace(nameless, run_duration_s=30.0)).held_s == {}
    assert run_through(nameless, replace(nameless, run_duration_s=30.0, user="ann")).held_s == {ANN: 240.0}


def test_seconds_do_not_wait_without_limit() -> None:
    """After ten polls without a name, and when the job is dropped, they count under the empty name."""
    nameless = job(10, api=Api.V1, user="")
    accounts = Accounts(max_users=10)
    Account.opened(nameless, is_new=True, started=True).update(nameless, accounts, last=True)

    assert run_through(*[nameless] * 11).held_s == {ANN._replace(user=""): 80.0}
    assert totals_of(accounts).held_s == {ANN._replace(user=""): 80.0}


@pytest.mark.parametrize(
    "is_new, reported, expected",
    [
        pytest.param(True, [{}, {"a": 1}, {"a": 3, "b": 1}], {"a": 3, "b": 1}, id="each once"),
        pytest.param(True, [None, {"a": 2}], {"a": 2}, id="reported later"),
        pytest.param(True, [{"a": 2}, {"a": 1}, {"a": 2}, {"a": 3}], {"a": 3}, id="a list that shrinks"),
        pytest.param(False, [{"a": 5}, {"a": 6}], {"a": 1}, id="history does not count"),
        pytest.param(False, [None, {"a": 5}, {"a": 6}], {"a": 1}, id="nor history that is reported later"),
    ],
)
def test_recoveries(is_new: bool, reported: list[dict[str, int] | None], expected: dict[str, int]) -> None:
    """A recovery counts once, when it is first reported, and not if it lies before the first poll."""
    totals = run_through(
        *(job(10.0 * at, recoveries=recoveries) for at, recoveries in enumerate(reported)), is_new=is_new
    )

    assert totals.recoveries == expected


def hold(accounts: Accounts, **held_s: float) -> dict[str, float]:
    """Let users hold so many seconds; return the exported seconds by user."""
    for user, seconds in held_s.items():
        accounts.use(ANN._replace(user=user), held_s=seconds)
    return {holder.user: seconds for holder, seconds in totals_of(accounts).held_s.items()}


def test_the_top_users_have_series_of_their_own() -> None:
    """Of users first seen together those with the most seconds have series; the others share one, also later."""
    accounts = Accounts(max_users=2)

    assert hold(accounts, ann=1.0, bob=5.0, eve=3.0) == {"bob": 5.0, "eve": 3.0, OTHER: 1.0}
    assert hold(accounts, ann=100.0, zoe=7.0, bob=1.0) == {"bob": 6.0, "eve": 3.0, OTHER: 108.0}


def test_users_keep_their_series_across_a_restart() -> None:
    """The same users have series of their own after a restart: no second is counted under two names."""
    accounts = Accounts(max_users=1)
    hold(accounts, ann=1.0)
    again = Accounts(max_users=1)
    again.restore(accounts.dump())

    assert hold(again, bob=5.0, ann=1.0) == {"ann": 2.0, OTHER: 5.0}


def test_the_empty_name_does_not_count_towards_the_limit() -> None:
    """Jobs without a user name have one more series; the limit is for names."""
    accounts = Accounts(max_users=1)
    accounts.use(ANN._replace(user=""), held_s=1.0)

    assert hold(accounts, ann=2.0) == {"": 1.0, "ann": 2.0}


def test_masking_loses_no_second() -> None:
    """Users with the same masked name are summed; the shared series keeps its name."""
    accounts = Accounts(max_users=2)
    hold(accounts, ann=1.0, bob=2.0, eve=0.5)

    shown = {holder.user: seconds for holder, seconds in totals_of(accounts, mask_user=lambda _: "").held_s.items()}
    assert shown == {"": 3.0, OTHER: 0.5}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 1e6)), max_size=40), st.integers(1, 4))
def test_users_and_others_add_up(uses: list[tuple[str, float]], max_users: int) -> None:
    """In any order: the sum over users is what was used, and no series decreases."""
    accounts = Accounts(max_users=max_users)
    before: dict[str, float] = {}
    for user, seconds in uses:
        now = hold(accounts, **{user: seconds})
        assert all(now.get(name, 0.0) >= value for name, value in before.items())
        assert len(now.keys() - {OTHER}) <= max_users
        before = now

    assert sum(before.values()) == pytest.approx(sum(seconds for _, seconds in uses))


def test_the_default_account_counts_nothing_twice() -> None:
    """The default state is that of a job with an unknown past: the next poll sets its beginning."""
    accounts = Accounts(max_users=10)
    account = Account(AccountState())
    account.update(job(1000), accounts)
    account.update(job(1010), accounts)

    assert totals_of(accounts).held_s == {ANN: 80.0}


def faulty(run_s: float = 10.0, *, lengths: tuple[float, ...] = (), **results: int) -> Job:
    """Ann's running job with so many chip faults by result, and recoveries of these lengths."""
    return job(
        run_s,
        pool_id="p",
        recoveries={"npu_step_retry": len(lengths)},
        fault_results={"chip_fault": results},
        recovery_times={"npu_step_retry": lengths},
    )


def faults_of(totals: Totals) -> dict[str, int]:
    """Every fault counted, by result; all must be chip faults of pool p."""
    assert {(pool, scenario) for (pool, scenario, _), times in totals.faults.items() if times} <= {
        ("p", "chip_fault")
    }
    return {result: times for (pool, _, result), times in totals.faults.items() if pool == "p" and times}


def repairs_of(totals: Totals) -> tuple[int, float]:
    """Number and sum of the recovery times of steps."""
    times = totals.recovery_times["npu_step_retry"]
    return sum(times.counts), times.sum_s


@pytest.mark.parametrize(
    "is_new, states, results, repairs",
    [
        pytest.param(True, [job(10), faulty(20, success=1, lengths=(9.0,))], {"success": 1}, (1, 9.0), id="one"),
        pytest.param(True, [faulty(20, success=1, lengths=(9.0,))] * 3, {"success": 1}, (1, 9.0), id="seen thrice"),
        pytest.param(True, [faulty(recovering=1)], {}, (0, 0.0), id="going on"),
        pytest.param(
            True,
            [faulty(recovering=1), faulty(success=1, failed=1, lengths=(5.0,))],
            {"success": 1, "failed": 1},
            (1, 5.0),
            id="results",
        ),
        pytest.param(
            True,
            [replace(faulty(recovering=1), status=JobStatus.COMPLETED)],
            {"recovering": 1},
            (0, 0.0),
            id="ended meanwhile",
        ),
        pytest.param(
            False,
            [faulty(success=2, lengths=(1.0, 2.0)), faulty(success=3, lengths=(1.0, 2.0, 4.0))],
            {"success": 1},
            (1, 4.0),
            id="history: only the last",
        ),
        pytest.param(
            False,
            [job(), faulty(success=1, lengths=(4.0,))],
            {"success": 1},
            (1, 4.0),
            id="history: between the first two polls of a job that was queued",
        ),
        pytest.param(
            True,
            [faulty(success=2, lengths=(1.0, 2.0)), faulty(success=1, lengths=(2.0,))],
            {"success": 2},
            (2, 3.0),
            id="the list becomes shorter",
        ),
    ],
)
def test_each_fault_counts_once(
    is_new: bool, states: list[Job], results: dict[str, int], repairs: tuple[int, float]
) -> None:
    """Once its recovery has a result, by pool, scenario and result; the length of each successful recovery too."""
    totals = run_through(*states, is_new=is_new)

    assert (faults_of(totals), repairs_of(totals)) == (results, repairs)


def test_a_restart_counts_no_fault_again() -> None:
    """The state of the account and of the totals says which faults and lengths were counted."""
    accounts = Accounts(max_users=10)
    seen = faulty(success=1, lengths=(9.0,))
    account = Account.opened(seen, is_new=True, started=True)
    account.update(seen, accounts)
    later = Accounts(max_users=10)
    later.restore(accounts.dump())
    Account(account.dump()).update(faulty(success=2, lengths=(9.0, 11.0)), later)

    assert (faults_of(totals_of(later)), repairs_of(totals_of(later))) == ({"success": 2}, (2, 20.0))


def test_faults_begin_at_zero() -> None:
    """Every scenario and result of a known pool, and every policy, has a series before its first event."""
    accounts = Accounts(max_users=10)
    accounts.observe_pool("")
    totals = totals_of(accounts)

    assert set(totals.faults) == {("", scenario, result) for scenario in SCENARIOS for result in RESULTS}
    assert set(totals.recovery_times) == set(POLICIES)
    assert not any(totals.faults.values())
