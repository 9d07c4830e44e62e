"""Fault cases: what the simulator does, the expected outcome, and the parsed scrape to check it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Self

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from exporter.settings import Settings
from exporter.simulator import Fault, Simulator, parse_fault
from tests.e2e.harness import Harness

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCase:
    """One fault of every API call, the outcome of the calls and the expected reaction of the exporter."""

    fault: str
    """As on the simulator's command line. "down" refuses connections, "429-date" sends a date one hour ahead."""
    outcome: str
    """Value of the label `outcome` of its calls."""
    retried: bool = False
    """Whether one call has more than one attempt."""
    opens: bool = False
    """Whether the circuit is open after five minutes."""
    v2_outcome: str = ""
    """Outcome in v2 if it differs."""
    slow: bool = False
    """Whether each call takes seconds of real time, so that the test polls rarely."""

    def expected(self, api: str) -> str:
        """Outcome in one API generation."""
        return self.v2_outcome if api == "v2" and self.v2_outcome else self.outcome

    def simulator_fault(self, cloud: Simulator, *, path: str = "*") -> Fault:
        """Fault of the simulator for paths with this pattern. Not for "down"."""
        if self.fault == "429-date":
            date = formatdate(cloud.state.time() + 3600, usegmt=True)
            return Fault("429", path=path, retry_after=date)
        fault = parse_fault(self.fault)
        fault.path = path
        return fault

    def active(self, cloud: Simulator) -> "_ActiveFault":
        """Context in which the fault is active."""
        return _ActiveFault(self, cloud)


class _ActiveFault:
    def __init__(self, case: FaultCase, cloud: Simulator) -> None:
        self._trouble = case
        self._cloud = cloud

    async def __aenter__(self) -> Self:
        if self._trouble.fault == "down":
            await self._cloud.go_down()
        else:
            self._cloud.faults.add(self._trouble.simulator_fault(self._cloud))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cloud.faults.clear()
        await self._cloud.come_back()


UNREACHABLE: Mapping[str, FaultCase] = {
    "connection-refused": FaultCase(fault="down", outcome="unreachable", retried=True, opens=True),
    "hang-before-headers": FaultCase(fault="hang", outcome="unreachable", retried=True, opens=True, slow=True),
    "hang-in-body": FaultCase(fault="hang-body", outcome="unreachable", retried=True, opens=True, slow=True),
    "reset": FaultCase(fault="reset", outcome="unreachable", retried=True, opens=True),
    "reset-in-body": FaultCase(fault="reset-body", outcome="unreachable", retried=True, opens=True),
}
INVALID_RESPONSE: Mapping[str, FaultCase] = {
    "truncated-json": FaultCase(fault="truncated", outcome="invalid_response"),
    "wrong-types": FaultCase(fault="wrong-types", outcome="invalid_response"),
    "empty-200": FaultCase(fault="empty-200", outcome="invalid_response"),
    "204": FaultCase(fault="204", outcome="invalid_response"),
    "html-200": FaultCase(fault="html-502:status=200", outcome="invalid_response"),
}
SERVER_ERROR: Mapping[str, FaultCase] = {
    "html-502": FaultCase(fault="html-502", outcome="server_error", retried=True, opens=True),
    "500": FaultCase(fault="500", outcome="server_error", retried=True, opens=True),
    "503": FaultCase(fault="503", outcome="server_error", retried=True, opens=True),
    "408": FaultCase(fault="408", outcome="server_error", retried=True, opens=True),
}
THROTTLED: Mapping[str, FaultCase] = {
    "429-seconds": FaultCase(fault="429:retry_after=30", outcome="throttled", opens=True),
    "429-date": FaultCase(fault="429-date", outcome="throttled", opens=True),
    "429-absurd": FaultCase(fault="429:retry_after=absurd", outcome="throttled", opens=True),
    "429-silent": FaultCase(fault="429:retry_after=none", outcome="throttled", retried=True, opens=True),
}
REFUSED: Mapping[str, FaultCase] = {
    "401-forever": FaultCase(fault="401", outcome="denied", opens=True),
    "403": FaultCase(fault="403", outcome="denied"),
    "404": FaultCase(fault="404", outcome="unsupported"),
    "is-success-false-200": FaultCase(fault="is-success-false", outcome="refused", v2_outcome="invalid_response"),
    "is-success-false-400": FaultCase(fault="is-success-false:status=400", outcome="refused"),
    "clock-skew": FaultCase(fault="clock-skew:skew=1200", outcome="denied", opens=True),
    "redirect": FaultCase(fault="redirect", outcome="refused"),
    "echo": FaultCase(fault="echo", outcome="refused"),
}
HUGE: Mapping[str, FaultCase] = {"200-mb": FaultCase(fault="huge:size_mb=200", outcome="invalid_response", slow=True)}
FAULT_CASES: Mapping[str, FaultCase] = {
    **UNREACHABLE,
    **INVALID_RESPONSE,
    **SERVER_ERROR,
    **THROTTLED,
    **REFUSED,
    **HUGE,
}


class Scrape:
    """One scrape, parsed once."""

    def __init__(self, harness: Harness) -> None:
        self._samples: dict[str, dict[Labels, float]] = {}
        self._counters: dict[tuple[str, Labels], float] = {}
        lines = (
            line for line in harness.text().splitlines() if line.startswith("modelarts_") and "_bucket{" not in line
        )
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                self._samples.setdefault(sample.name, {})[labels] = sample.value
                if sample.name.endswith(("_total", "_count")):
                    self._counters[sample.name, labels] = sample.value

    def read(self, name: str, **labels: str) -> dict[Labels, float]:
        """Samples of one name with these labels, by the other labels."""
        wanted = labels.items()
        return {key - frozenset(wanted): value for key, value in self._samples.get(name, {}).items() if wanted <= key}

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of one name with these labels. 0 without samples."""
        return sum(self.read(name, **labels).values())

    def up(self) -> dict[str, float]:
        """`modelarts_up` by project. Fails if the jobs collector's own metric differs."""
        up = {dict(labels)["project"]: value for labels, value in self.read("modelarts_up").items()}
        collectors = self.read("modelarts_collector_up", collector="jobs")
        assert up == {dict(labels)["project"]: value for labels, value in collectors.items()}
        return up

    def statuses(self, project: str) -> dict[str, str]:
        """Status of each exported job of a project by job id."""
        samples = self.read("modelarts_training_job_status", project=project)
        return {dict(labels)["job_id"]: dict(labels)["status"] for labels in samples}

    def is_monotonic_since(self, before: "Scrape") -> bool:
        """Whether every counter still exists and none has decreased."""
        return all(self._counters.get(key, -1.0) >= value for key, value in before._counters.items())


def merge_settings(first: Settings, *others: Settings) -> Settings:
    """Settings with the targets of all arguments."""
    return replace(first, targets=tuple(target for settings in (first, *others) for target in settings.targets))
