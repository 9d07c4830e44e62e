import pytest

from exporter.cloud.v1.status import REASONS, STATUSES, status
from exporter.domain.job import JobStatus
from tests.unit.cloud.recorded_unknowns import Notes

TABLE = [
    (0, "UNKNOWN", JobStatus.UNKNOWN),
    (1, "INIT", JobStatus.INITIALIZING),
    (2, "IMAGE_CREATING", JobStatus.INITIALIZING),
    (3, "IMAGE_FAILED", JobStatus.FAILED),
    (4, "SUBMIT_TRYING", JobStatus.INITIALIZING),
    (5, "SUBMIT_FAILED", JobStatus.FAILED),
    (6, "DELETE_FAILED", JobStatus.FAILED),
    (7, "WAITING", JobStatus.QUEUED),
    (8, "RUNNING", JobStatus.RUNNING),
    (9, "KILLING", JobStatus.TERMINATING),
    (10, "COMPLETED", JobStatus.COMPLETED),
    (11, "FAILED", JobStatus.FAILED),
    (12, "KILLED", JobStatus.TERMINATED),
    (13, "CANCELED", JobStatus.TERMINATED),
    (14, "LOST", JobStatus.LOST),
    (15, "SCALING", JobStatus.SCALING),
    (16, "SUBMIT_MODEL_FAILED", JobStatus.FAILED),
    (17, "DEPLOY_SERVICE_FAILED", JobStatus.FAILED),
    (18, "CHECK_INIT", JobStatus.INITIALIZING),
    (19, "CHECK_RUNNING", JobStatus.RUNNING),
    (20, "CHECK_RUNNING_COMPLETED", JobStatus.COMPLETED),
    (21, "CHECK_FAILED", JobStatus.FAILED),
]


@pytest.mark.parametrize("number, name, expected", TABLE, ids=[f"{n}-{name}" for n, name, _ in TABLE])
def test_each_number_maps_to_its_status(number: int, name: str, expected: JobStatus) -> None:
    """Traps 10 and 11: the table is right, not "3, 5, 6, 13": 11 failed, 13 was cancelled; 9, 15, 19 are active."""
    notes = Notes()

    assert status(number, note=notes) == (REASONS[name], expected)
    assert notes.noted == []


def test_the_table_is_complete() -> None:
    """There are 22 statuses, numbered without gaps."""
    assert sorted(STATUSES) == list(range(22))


@pytest.mark.parametrize(
    "value", ["12", 12.0, "12.0", " 12 "], ids=["text", "float", "text of a float", "text with spaces"]
)
def test_a_status_may_be_text(value: object) -> None:
    """Trap 16: "12" is 12."""
    notes = Notes()

    assert status(value, note=notes) == ("terminated", JobStatus.TERMINATED)
    assert notes.noted == []


@pytest.mark.parametrize(
    "value",
    [22, -1, "77", 8.5, "RUNNING", True, [8], {}],
    ids=["22", "negative", "text 77", "fraction", "word", "boolean", "list", "object"],
)
def test_an_undocumented_status_is_unknown_and_noted(value: object) -> None:
    """An unknown status has no name, because the values of `reason` are bounded."""
    notes = Notes()

    assert status(value, note=notes) == ("", JobStatus.UNKNOWN)
    assert notes.fields == ["v1.status"]


def test_a_null_status_is_unknown_and_not_noted() -> None:
    """Null is a missing value, not an unknown one."""
    notes = Notes()

    assert status(None, note=notes) == ("", JobStatus.UNKNOWN)
    assert notes.noted == []
