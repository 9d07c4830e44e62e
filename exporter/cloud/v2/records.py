"""Faults, recoveries and crash loops of a v2 job, from its records (API reference §7)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.cloud.decode import values
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v2 import phases, wire
from exporter.domain.job import CRASH_LOOP_S

POLICIES = (
    "npu_proc_restart",
    "gpu_proc_restart",
    "proc_restart",
    "pod_reschedule",
    "job_reschedule",
    "job_reschedule_with_taint",
    "npu_step_retry",
)
"""The documented recovery policies; any other is counted as `phases.OTHER`."""

SCENARIOS = ("chip_fault", "node_fault", "job_failed", "job_hanged", "job_subhealth", "error_in_log")
"""The documented fault scenarios; any other is counted as `phases.OTHER`."""

_RUNNING = "v2.status.running_records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Summary of the running records. Every field is None when there are no records."""

    recoveries: Mapping[str, int] | None = None
    degraded: Mapping[str, int] | None = None
    last_recovery_at: float | None = None
    crash_loop_runs: int | None = None


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
    return Runs(
        recoveries=dict(Counter(policy for policy in recovered if policy)),
        degraded=dict(tried),
        last_recovery_at=starts[-1] if len(records) > 1 and recovered[-2] else None,
        crash_loop_runs=_crash_loop_runs(records, starts, recovered, now=now, note=note),
    )


def faults(records: list[wire.RecoverRecord] | None, *, note: NoteUnknown) -> Mapping[str, int] | None:
    """Count faults by scenario; None where the API has no such records."""
    if records is None:
        return None
    field = "v2.status.recover_records.fault_scenario"
    words = (_known_word(record.fault_scenario, SCENARIOS, field=field, note=note) for record in records)
    return dict(Counter(word for word in words if word))


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
    """Read a value of a vocabulary; empty for none, `phases.OTHER` for an undocumented one (noted)."""
    if value is None or value == "":
        return ""
    word = values.text(value).strip().lower()
    if word in known:
        return word
    note(field, value)
    return phases.OTHER
