"""Maps v2 phases to statuses (API reference §4.3): the phase decides, the secondary phase refines."""

from exporter.cloud.decode import values
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.domain.job import JobStatus
from exporter.domain.recovery import OTHER

REASONS = {
    "Creating": "creating",
    "Queuing": "queuing",
    "Running": "running",
    "Failed": "failed",
    "Completed": "completed",
    "Terminating": "terminating",
    "Terminated": "terminated",
    "CreateFailed": "create_failed",
    "TerminatedFailed": "terminated_failed",
    "Unknown": "unknown",
    "Lost": "lost",
}
"""The documented secondary phases, and the reason for each, one of `domain.job.REASONS`."""

_STATUS = {
    "creating": JobStatus.INITIALIZING,
    "pending": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "terminating": JobStatus.TERMINATING,
    "completed": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "terminated": JobStatus.TERMINATED,
    # Found in third-party code only.
    "initializing": JobStatus.INITIALIZING,
    "waiting": JobStatus.QUEUED,
    "success": JobStatus.COMPLETED,
    "succeeded": JobStatus.COMPLETED,
    "timeout": JobStatus.FAILED,
    "stopped": JobStatus.TERMINATED,
}

_ABNORMAL = {"lost": JobStatus.LOST, "unknown": JobStatus.UNKNOWN}
"""Status of an abnormal job that is not simply failed. TerminatedFailed (the kill failed) is failed."""

_BY_SECONDARY = {
    "creating": JobStatus.INITIALIZING,
    "queuing": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "completed": JobStatus.COMPLETED,
    "terminating": JobStatus.TERMINATING,
    "terminated": JobStatus.TERMINATED,
    "failed": JobStatus.FAILED,
    "createfailed": JobStatus.FAILED,
    "terminatedfailed": JobStatus.FAILED,
    "lost": JobStatus.LOST,
}
"""Used when the phase is missing or unknown."""

_REASONS = {secondary.lower(): reason for secondary, reason in REASONS.items()}


def status(phase: object, secondary: object, *, note: NoteUnknown) -> JobStatus:
    """Map a phase to a status; an unknown phase is noted, and the secondary phase used."""
    first, second = _word(phase), _word(secondary)
    if first == "abnormal":
        return _ABNORMAL.get(second, JobStatus.FAILED)
    known = _STATUS.get(first)
    if known is not None:
        return known
    if phase is not None and phase != "":
        note("v2.status.phase", phase)
    return _BY_SECONDARY.get(second, JobStatus.UNKNOWN)


def reason(secondary: object, *, note: NoteUnknown) -> str:
    """Return the reason; `OTHER` for an undocumented secondary phase (noted), empty for none."""
    if secondary is None or secondary == "":
        return ""
    known = _REASONS.get(_word(secondary))
    if known is None:
        note("v2.status.secondary_phase", secondary)
        return OTHER
    return known


def _word(value: object) -> str:
    return values.text(value).strip().lower()
