"""v2 phases to statuses, one case for each row of reference §4.3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.v2 import phases
from exporter.domain import recovery
from exporter.domain.job import JobStatus
from tests.unit.cloud.recorded_unknowns import Notes

S = JobStatus


@pytest.mark.parametrize(
    "phase,secondary,expected",
    [
        pytest.param("Creating", "Creating", S.INITIALIZING, id="Creating"),
        pytest.param("Pending", "Queuing", S.QUEUED, id="Pending-Queuing"),
        pytest.param("Pending", "Creating", S.QUEUED, id="Pending-Creating"),
        pytest.param("Running", "Running", S.RUNNING, id="Running"),
        pytest.param("Running", "Lost", S.RUNNING, id="Running-whatever-the-second-says"),
        pytest.param("Terminating", "Terminating", S.TERMINATING, id="Terminating"),
        pytest.param("Completed", "Completed", S.COMPLETED, id="Completed"),
        pytest.param("Failed", "Failed", S.FAILED, id="Failed"),
        pytest.param("Terminated", "Terminated", S.TERMINATED, id="Terminated"),
        pytest.param("Abnormal", "Lost", S.LOST, id="Abnormal-Lost"),
        pytest.param("Abnormal", "Unknown", S.UNKNOWN, id="Abnormal-Unknown"),
        pytest.param("Abnormal", "CreateFailed", S.FAILED, id="Abnormal-CreateFailed"),
        pytest.param("Abnormal", "TerminatedFailed", S.FAILED, id="Abnormal-TerminatedFailed"),
        pytest.param("Abnormal", "Failed", S.FAILED, id="Abnormal-Failed"),
        pytest.param("Abnormal", "Novel", S.FAILED, id="Abnormal-other"),
        pytest.param("Abnormal", None, S.FAILED, id="Abnormal-missing"),
        pytest.param("rUNNING", "", S.RUNNING, id="case-does-not-matter"),
        pytest.param(" Running ", None, S.RUNNING, id="blanks"),
        pytest.param("ABNORMAL", "LOST", S.LOST, id="case-of-both"),
        pytest.param("Waiting", None, S.QUEUED, id="alias-Waiting"),
        pytest.param("Stopped", None, S.TERMINATED, id="alias-Stopped"),
        pytest.param("Initializing", None, S.INITIALIZING, id="alias-Initializing"),
        pytest.param("Success", None, S.COMPLETED, id="alias-Success"),
        pytest.param("Succeeded", None, S.COMPLETED, id="alias-Succeeded"),
        pytest.param("Timeout", None, S.FAILED, id="alias-Timeout"),
        pytest.param(None, "Creating", S.INITIALIZING, id="missing-Creating"),
        pytest.param("", "Queuing", S.QUEUED, id="missing-Queuing"),
        pytest.param(None, "Running", S.RUNNING, id="missing-Running"),
        pytest.param(None, "Completed", S.COMPLETED, id="missing-Completed"),
        pytest.param(None, "Terminating", S.TERMINATING, id="missing-Terminating"),
        pytest.param(None, "Terminated", S.TERMINATED, id="missing-Terminated"),
        pytest.param(None, "Failed", S.FAILED, id="missing-Failed"),
        pytest.param(None, "CreateFailed", S.FAILED, id="missing-CreateFailed"),
        pytest.param(None, "TerminatedFailed", S.FAILED, id="missing-TerminatedFailed"),
        pytest.param(None, "Lost", S.LOST, id="missing-Lost"),
        pytest.param(None, "Unknown", S.UNKNOWN, id="missing-Unknown"),
        pytest.param(None, None, S.UNKNOWN, id="nothing-at-all"),
    ],
)
def test_the_phase_decides(phase: object, secondary: object, expected: JobStatus) -> None:
    """Trap 12: the phase decides; the secondary phase splits Abnormal, and replaces a missing phase."""
    notes = Notes()

    assert phases.status(phase, secondary, note=notes) is expected
    assert notes.noted == []


@pytest.mark.parametrize(
    "phase,secondary,expected",
    [
        pytest.param("Dreaming", "Running", S.RUNNING, id="second-known"),
        pytest.param("Dreaming", "Sleeping", S.UNKNOWN, id="second-unknown-too"),
        pytest.param(8, None, S.UNKNOWN, id="a-v1-number"),
        pytest.param({"a": 1}, None, S.UNKNOWN, id="an-object"),
    ],
)
def test_an_unknown_phase_is_noted(phase: object, secondary: object, expected: JobStatus) -> None:
    """An undocumented phase is noted as v2.status.phase, and the secondary phase is used."""
    notes = Notes()

    assert phases.status(phase, secondary, note=notes) is expected
    assert notes.noted == [("v2.status.phase", phase)]


@pytest.mark.parametrize("secondary, word", phases.REASONS.items())
def test_documented_secondary_phases_are_reasons(secondary: str, word: str) -> None:
    """Every documented secondary phase has its word, whatever its case."""
    notes = Notes()

    assert phases.reason(secondary.upper(), note=notes) == word
    assert notes.noted == []


@pytest.mark.parametrize("secondary", [pytest.param(None, id="null"), pytest.param("", id="empty")])
def test_no_secondary_phase_is_no_reason(secondary: object) -> None:
    """Without a secondary phase the reason is empty, and nothing is noted."""
    notes = Notes()

    assert phases.reason(secondary, note=notes) == ""
    assert notes.noted == []


@given(secondary=st.text(min_size=1) | st.integers() | st.lists(st.integers(), max_size=2))
def test_the_values_of_reason_are_bounded(secondary: object) -> None:
    """Trap 28: the reason is a documented word or "other", which is noted, whatever the text."""
    notes = Notes()

    reason = phases.reason(secondary, note=notes)

    assert reason in (*phases.REASONS.values(), recovery.OTHER)
    assert notes.fields == (["v2.status.secondary_phase"] if reason == recovery.OTHER else [])
