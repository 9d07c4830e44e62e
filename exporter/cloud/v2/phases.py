"""v2 phases to statuses (API reference §4.3): the phase decides, the secondary phase refines."""

from exporter.cloud.decode import values
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.domain.job import JobStatus

REASONS = (
    "Creating",
    "Queuing",
    "Running",
    "Failed",
    "Completed",
    "Terminating",
    "Terminated",
    "CreateFailed",
    "TerminatedFailed",
    "Unknown",
    "Lost",
)
"""The documented secondary phases: the vocabulary of a v2 job's reason, beside `OTHER`."""

OTHER = "other"
"""Stands for a word the documentation does not know, so that the vocabulary stays bounded."""

_STATUS = {
    "creating": JobStatus.INITIALIZING,
    "pending": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "terminating": JobStatus.TERMINATING,
    "completed": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "terminated": JobStatus.TERMINATED,
    # These appear in third-party code only.
    "initializing": JobStatus.INITIALIZING,
    "waiting": JobStatus.QUEUED,
    "success": JobStatus.COMPLETED,
    "succeeded": JobStatus.COMPLETED,
    "timeout": JobStatus.FAILED,
    "stopped": JobStatus.TERMINATED,
}

_ABNORMAL = {"lost": JobStatus.LOST, "unknown": JobStatus.UNKNOWN}
"""What an abnormal job is, when it is not simply failed. TerminatedFailed is: its kill failed."""

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
"""The second-best word, for a phase that is missing or not known."""

_REASONS = {reason.lower(): reason for reason in REASONS}


def status(phase: object, secondary: object, *, note: NoteUnknown) -> JobStatus:
    """Tell where a job stands; an unknown phase is noted, and the secondary phase asked instead."""
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
    """Return the secondary phase as documented; `OTHER` for an undocumented one (noted), empty for none."""
    if secondary is None or secondary == "":
        return ""
    known = _REASONS.get(_word(secondary))
    if known is None:
        note("v2.status.secondary_phase", secondary)
        return OTHER
    return known


def _word(value: object) -> str:
    return values.text(value).strip().lower()
