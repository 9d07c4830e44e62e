"""What can go wrong with a cloud, as begun and ended in the simulator, and what a scrape shows meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Self

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from exporter.settings import Settings
from exporter.simulator import Fault, Simulator, parse_fault
from tests.e2e.harness import Rig

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that goes wrong with every call, how its calls end, and what the exporter does about it."""

    fault: str
    """In the words of the simulator's command line; "down" refuses connections, "429-date" names a date far away."""
    outcome: str
    """Of the calls, by the counter's label."""
    retried: bool = False
    """Whether one call is tried more than once."""
    opens: bool = False
    """Whether the circuit is open after five minutes of it."""
    v2_outcome: str = ""
    """Where v2 differs."""
    slow: bool = False
    """Whether each call takes real time, so that the polls had better be few."""

    def expected(self, api: str) -> str:
        """Outcome for one generation."""
        return self.v2_outcome if api == "v2" and self.v2_outcome else self.outcome

    def made(self, cloud: Simulator, *, path: str = "*") -> Fault:
        """Make the simulator's fault, aimed at paths; not for "down"."""
        if self.fault == "429-date":
            date = formatdate(cloud.state.time() + 3600, usegmt=True)
            return Fault("429", path=path, retry_after=date)
        fault = parse_fault(self.fault)
        fault.path = path
        return fault

    def at(self, cloud: Simulator) -> "_Going":
        """Go on for as long as the context is open."""
        return _Going(self, cloud)


class _Going:
    def __init__(self, trouble: Trouble, cloud: Simulator) -> None:
        self._trouble = trouble
        self._cloud = cloud

    async def __aenter__(self) -> Self:
        if self._trouble.fault == "down":
            await self._cloud.go_down()
        else:
            self._cloud.faults.add(self._trouble.made(self._cloud))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cloud.faults.clear()
        await self._cloud.come_back()


UNREACHABLE: Mapping[str, Trouble] = {
    "connection-refused": Trouble(fault="down", outcome="unreachable", retried=True, opens=True),
    "hang-before-headers": Trouble(fault="hang", outcome="unreachable", retried=True, opens=True, slow=True),
    "hang-in-body": Trouble(fault="hang-body", outcome="unreachable", retried=True, opens=True, slow=True),
    "reset": Trouble(fault="reset", outcome="unreachable", retried=True, opens=True),
    "reset-in-body": Trouble(fault="reset-body", outcome="unreachable", retried=True, opens=True),
}
UNINTELLIGIBLE: Mapping[str, Trouble] = {
    "truncated-json": Trouble(fault="truncated", outcome="invalid_response"),
    "wrong-types": Trouble(fault="wrong-types", outcome="invalid_response"),
    "empty-200": Trouble(fault="empty-200", outcome="invalid_response"),
    "204": Trouble(fault="204", outcome="invalid_response"),
    "html-200": Trouble(fault="html-502:status=200", outcome="invalid_response"),
}
BROKEN: Mapping[str, Trouble] = {
    "html-502": Trouble(fault="html-502", outcome="server_error", retried=True, opens=True),
    "500": Trouble(fault="500", outcome="server_error", retried=True, opens=True),
    "503": Trouble(fault="503", outcome="server_error", retried=True, opens=True),
    "408": Trouble(fault="408", outcome="server_error", retried=True, opens=True),
}
THROTTLED: Mapping[str, Trouble] = {
    "429-seconds": Trouble(fault="429:retry_after=30", outcome="throttled", opens=True),
    "429-date": Trouble(fault="429-date", outcome="throttled", opens=True),
    "429-absurd": Trouble(fault="429:retry_after=absurd", outcome="throttled", opens=True),
    "429-silent": Trouble(fault="429:retry_after=none", outcome="throttled", retried=True, opens=True),
}
REFUSED: Mapping[str, Trouble] = {
    "401-forever": Trouble(fault="401", outcome="denied", opens=True),
    "403": Trouble(fault="403", outcome="denied"),
    "404": Trouble(fault="404", outcome="unsupported"),
    "is-success-false-200": Trouble(fault="is-success-false", outcome="refused", v2_outcome="invalid_response"),
    "is-success-false-400": Trouble(fault="is-success-false:status=400", outcome="refused"),
    "clock-skew": Trouble(fault="clock-skew:skew=1200", outcome="denied", opens=True),
    "redirect": Trouble(fault="redirect", outcome="refused"),
    "echo": Trouble(fault="echo", outcome="refused"),
}
HUGE: Mapping[str, Trouble] = {"200-mb": Trouble(fault="huge:size_mb=200", outcome="invalid_response", slow=True)}
TROUBLES: Mapping[str, Trouble] = {**UNREACHABLE, **UNINTELLIGIBLE, **BROKEN, **THROTTLED, **REFUSED, **HUGE}


class Shown:
    """One scrape, parsed once."""

    def __init__(self, rig: Rig) -> None:
        self._samples: dict[str, dict[Labels, float]] = {}
        self._growing: dict[tuple[str, Labels], float] = {}
        lines = (line for line in rig.text().splitlines() if line.startswith("modelarts_") and "_bucket{" not in line)
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                labels = frozenset(sample.labels.items())
                self._samples.setdefault(sample.name, {})[labels] = sample.value
                if sample.name.endswith(("_total", "_count")):
                    self._growing[sample.name, labels] = sample.value

    def read(self, name: str, **labels: str) -> dict[Labels, float]:
        """Samples of one name with these labels, the others as the key."""
        wanted = labels.items()
        return {key - frozenset(wanted): value for key, value in self._samples.get(name, {}).items() if wanted <= key}

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of one name with these labels; 0 where there is none."""
        return sum(self.read(name, **labels).values())

    def up(self) -> dict[str, float]:
        """`modelarts_up` by project, which must be what the jobs collector says."""
        up = {dict(labels)["project"]: value for labels, value in self.read("modelarts_up").items()}
        collectors = self.read("modelarts_collector_up", collector="jobs")
        assert up == {dict(labels)["project"]: value for labels, value in collectors.items()}
        return up

    def statuses(self, project: str) -> dict[str, str]:
        """Status of each job that is shown of a project, by job id."""
        samples = self.read("modelarts_training_job_status", project=project)
        return {dict(labels)["job_id"]: dict(labels)["status"] for labels in samples}

    def has_grown_from(self, before: "Shown") -> bool:
        """Whether every counter is still there and none went back."""
        return all(self._growing.get(key, -1.0) >= value for key, value in before._growing.items())


def together(first: Settings, *others: Settings) -> Settings:
    """Settings with the targets of all of them."""
    return replace(first, targets=tuple(target for settings in (first, *others) for target in settings.targets))
