"""Faults, recoveries and crash loops of a v2 job, from its running records (API reference §7).

A running record ends with the fault that stopped the run. The recoveries are nested in it: those that healed the run
in place, and the one that ended it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.cloud.decode import values
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v2 import wire
from exporter.domain.job import CRASH_LOOP_S
from exporter.domain.recovery import OTHER, POLICIES, RECOVERING, RESULTS, SCENARIOS, SUCCESS

_RUNNING = "v2.status.running_records"
_RECOVERY = f"{_RUNNING}.recover_records"
_QUOTA_EXCEEDED = {"quotaexceeded": "quota_exceeded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Summary of the running records. Every field is None when there are no records."""

    recoveries: Mapping[str, int] | None = None
    degraded: Mapping[str, int] | None = None
    last_recovery_at: float | None = None
    crash_loop_runs: int | None = None
    faults: Mapping[str, Mapping[str, int]] | None = None
    """By scenario and result."""
    recovery_times: Mapping[str, tuple[float, ...]] | None = None
    """Seconds of each successful recovery, oldest first, by policy."""
    task_faults: Mapping[str, int] | None = None
    """How often a task was named as the cause of a fault, by the name as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recovery:
    """One nested record. Empty text: missing."""

    policy: str
    scenario: str
    result: str
    began_at: float | None
    ended_at: float | None
    task: str

    @property
    def lasted_s(self) -> float | None:
        """Its length; None unless it succeeded and both times are known and in order."""
        if self.result != SUCCESS or self.began_at is None or self.ended_at is None or self.ended_at < self.began_at:
            return None
        return self.ended_at - self.began_at


def running(records: list[wire.RunningRecord] | None, *, now: float | None, note: NoteUnknown) -> Runs:
    """Read the running records; `now` is the time of the job's last known moment, None if unknown.

    The newest record usually has no recovery, because its run continues or was the last one.
    """
    if records is None:
        return Runs()
    records = _oldest_first(records)
    field = f"{_RUNNING}.end_recover"
    recovered = [_known_word(record.end_recover, POLICIES, field=field, note=note) for record in records]
    tried = Counter(
        policy
        for record in records
        if (
            policy := _known_word(
                record.end_recover_before_downgrade, POLICIES, field=f"{field}_before_downgrade", note=note
            )
        )
    )
    starts = [values.moment_s(record.start_at, field=f"{_RUNNING}.start_at", note=note) for record in records]
    nested = [_recoveries(record.recover_records or (), note=note) for record in records]
    healed = [list(_healed_in_place(of_run, policy)) for of_run, policy in zip(nested, recovered, strict=True)]
    return Runs(
        recoveries=dict(
            Counter(policy for policy in recovered if policy) + Counter(one.policy for run in healed for one in run)
        ),
        degraded=dict(tried),
        last_recovery_at=max(
            (
                at
                for at in (
                    starts[-1] if len(records) > 1 and recovered[-2] else None,
                    *(one.ended_at for run in healed for one in run),
                )
                if at is not None
            ),
            default=None,
        ),
        crash_loop_runs=_crash_loop_runs(records, starts, recovered, now=now, note=note),
        faults=_faults(nested),
        recovery_times=_recovery_times(nested),
        task_faults=_task_faults(records, nested, recovered),
    )


def _recoveries(records: Sequence[wire.RecoverRecord], *, note: NoteUnknown) -> list[_Recovery]:
    """Read nested records, oldest first; as listed if the beginning of any is unknown."""
    read = [_recovery(record, note=note) for record in records]
    if all(one.began_at is not None for one in read):
        read.sort(key=lambda one: one.began_at or 0.0)
    return read


def _recovery(record: wire.RecoverRecord, *, note: NoteUnknown) -> _Recovery:
    lower = values.text(record.recover_result).strip().lower()
    result = _QUOTA_EXCEEDED.get(lower, record.recover_result)
    return _Recovery(
        policy=_known_word(record.recover, POLICIES, field=f"{_RECOVERY}.recover", note=note),
        scenario=_known_word(record.fault_scenario, SCENARIOS, field=f"{_RECOVERY}.fault_scenario", note=note),
        result=_known_word(result, RESULTS, field=f"{_RECOVERY}.recover_result", note=note),
        began_at=values.moment_s(record.recover_start_at, field=f"{_RECOVERY}.recover_start_at", note=note),
        ended_at=values.moment_s(record.recover_end_at, field=f"{_RECOVERY}.recover_end_at", note=note),
        task=values.text(record.related_task),
    )


def _end_of_run(nested: Sequence[_Recovery], end_policy: str) -> _Recovery | None:
    """Return the nested record of the event that ended the run; None when the running record alone reports it.

    It is the newest one with the policy that ended the run, else the last one if it did not succeed.
    """
    for one in reversed(nested):
        if end_policy and one.policy == end_policy:
            return one
    return nested[-1] if nested and nested[-1].result != SUCCESS else None


def _healed_in_place(nested: Sequence[_Recovery], end_policy: str) -> Iterator[_Recovery]:
    """Successful recoveries after which the run continued: those that `end_recover` does not report as well."""
    at_end = _end_of_run(nested, end_policy)
    return (one for one in nested if one.policy and one.result == SUCCESS and one is not at_end)


def _faults(nested: Sequence[Sequence[_Recovery]]) -> Mapping[str, Mapping[str, int]]:
    """Count faults by scenario and result. A fault whose result is missing or undocumented has the result `OTHER`."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for of_run in nested:
        for one in of_run:
            if one.scenario:
                result = one.result or (RECOVERING if one.ended_at is None else OTHER)
                found[one.scenario][result] += 1
    return {scenario: dict(results) for scenario, results in found.items()}


def _recovery_times(nested: Sequence[Sequence[_Recovery]]) -> Mapping[str, tuple[float, ...]]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for of_run in nested:
        for one in of_run:
            if one.policy and (lasted_s := one.lasted_s) is not None:
                found[one.policy].append(lasted_s)
    return {policy: tuple(times) for policy, times in found.items()}


def _task_faults(
    records: Sequence[wire.RunningRecord], nested: Sequence[Sequence[_Recovery]], recovered: Sequence[str]
) -> Mapping[str, int]:
    """Count by the names as written. The end of a run and its nested record are one fault."""
    found: Counter[str] = Counter()
    for record, of_run, policy in zip(records, nested, recovered, strict=True):
        at_end = _end_of_run(of_run, policy)
        found.update(one.task for one in of_run if one.task)
        last = values.text(record.end_related_task)
        if last and (at_end is None or not at_end.task):
            found[last] += 1
    return dict(found)


def _crash_loop_runs(
    records: Sequence[wire.RunningRecord],
    starts: Sequence[float | None],
    recovered: Sequence[str],
    *,
    now: float | None,
    note: NoteUnknown,
) -> int:
    """Count the newest consecutive runs that were shorter than `CRASH_LOOP_S`; a longer run ends the loop."""
    runs = 0
    for record, start, policy in zip(reversed(records), reversed(starts), reversed(recovered), strict=True):
        end = (
            now if not policy and not runs else values.moment_s(record.end_at, field=f"{_RUNNING}.end_at", note=note)
        )
        if start is None or (end is not None and end - start >= CRASH_LOOP_S):
            break
        if policy:
            runs += 1
        elif record is not records[-1]:
            break
    return runs


def _oldest_first(records: Sequence[wire.RunningRecord]) -> list[wire.RunningRecord]:
    """Sort the records by start, as their order is not documented; they stay as they are if a start is unknown."""
    starts = [values.moment_s(record.start_at, field=f"{_RUNNING}.start_at", note=_noted_later) for record in records]
    known = [(start, at) for at, start in enumerate(starts) if start is not None]
    return [records[at] for _, at in sorted(known)] if len(known) == len(records) else list(records)


def _noted_later(field: str, value: object) -> None:
    """The caller reads the same field again, and notes it then."""


def _known_word(value: object, known: tuple[str, ...], *, field: str, note: NoteUnknown) -> str:
    """Read a value of a vocabulary; empty for none, `OTHER` for an undocumented one (noted)."""
    if value is None or value == "":
        return ""
    word = values.text(value).strip().lower()
    if word in known:
        return word
    note(field, value)
    return OTHER
