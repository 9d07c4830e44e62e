"""The 22 status numbers of v1 (API reference §4.2).

Pages that define "failed" as 3, 5, 6 and 13 are wrong (trap 10): they leave out 11, a failed run, and include 13, a
cancelled one.
"""

from exporter.cloud.decode.values import number
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.domain.job import JobStatus

STATUSES: dict[int, tuple[str, JobStatus]] = {
    0: ("UNKNOWN", JobStatus.UNKNOWN),
    1: ("INIT", JobStatus.INITIALIZING),
    2: ("IMAGE_CREATING", JobStatus.INITIALIZING),
    3: ("IMAGE_FAILED", JobStatus.FAILED),
    4: ("SUBMIT_TRYING", JobStatus.INITIALIZING),
    5: ("SUBMIT_FAILED", JobStatus.FAILED),
    6: ("DELETE_FAILED", JobStatus.FAILED),
    7: ("WAITING", JobStatus.QUEUED),
    8: ("RUNNING", JobStatus.RUNNING),
    9: ("KILLING", JobStatus.TERMINATING),
    10: ("COMPLETED", JobStatus.COMPLETED),
    11: ("FAILED", JobStatus.FAILED),
    12: ("KILLED", JobStatus.TERMINATED),
    13: ("CANCELED", JobStatus.TERMINATED),
    14: ("LOST", JobStatus.LOST),
    15: ("SCALING", JobStatus.SCALING),
    16: ("SUBMIT_MODEL_FAILED", JobStatus.FAILED),
    17: ("DEPLOY_SERVICE_FAILED", JobStatus.FAILED),
    18: ("CHECK_INIT", JobStatus.INITIALIZING),
    19: ("CHECK_RUNNING", JobStatus.RUNNING),
    20: ("CHECK_RUNNING_COMPLETED", JobStatus.COMPLETED),
    21: ("CHECK_FAILED", JobStatus.FAILED),
}
"""Number to the cloud's name without its JOBSTAT_ prefix, and our status."""


_REASONS = {
    "INIT": "creating",
    "SUBMIT_TRYING": "submitting",
    "SUBMIT_FAILED": "create_failed",
    "WAITING": "queuing",
    "KILLING": "terminating",
    "KILLED": "terminated",
    "CHECK_INIT": "checking",
    "CHECK_RUNNING": "checking",
    "CHECK_RUNNING_COMPLETED": "completed",
}
"""Reasons that are not the name in lower case, so that both generations have the same words."""

REASONS = {name: _REASONS.get(name, name.lower()) for name, _ in STATUSES.values()}
"""The cloud's name to one of `domain.job.REASONS`."""


def status(value: object, *, note: NoteUnknown) -> tuple[str, JobStatus]:
    """Read a status number, which may be text; null is unknown, and a number that is not in the table is also noted.

    The first value is the reason, one of `REASONS`; empty when the number is not in the table.
    """
    if value is None:
        return "", JobStatus.UNKNOWN
    read = number(value, field="v1.status", note=note)
    if read is None:
        return "", JobStatus.UNKNOWN
    known = STATUSES.get(int(read)) if read.is_integer() else None
    if known is None:
        note("v1.status", value)
        return "", JobStatus.UNKNOWN
    name, read_status = known
    return REASONS[name], read_status
