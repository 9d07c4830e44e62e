"""Which workspaces of a project can be listed: one that may not be entered must not fail every poll for ever."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from exporter.cloud.http.errors import CloudError, Refused
from exporter.domain.snapshot import WorkspaceState
from exporter.domain.source import Clock, SourceError

RECHECK_S = 3600.0
"""How long a workspace stays set aside before it is listed again: permissions change by hand."""

LOST_S = 900.0
"""How long a workspace that could be listed must be refused before it is set aside; until then it is a failure."""

USABLE = "NORMAL"
"""The status of a workspace that can be used; others are CREATE_FAILED, DELETING and the like (fact 43)."""

_log = structlog.get_logger()


def is_entry_refusal(error: SourceError) -> bool:
    """Whether an error of a listing may concern only its workspace: any refusal, whatever its code."""
    return isinstance(error, Refused) or error.is_refusal


@dataclass(slots=True)
class _Workspace:
    name: str = ""
    is_entered: bool = False
    """Its listing was answered at least once."""
    refused_at: float | None = None
    """When the refusals in a row began (monotonic)."""
    aside_until: float | None = None
    """When to list it again; None: it is listed."""
    reason: str = ""


class WorkspaceAccess:
    """The workspaces of one project, and which of them are set aside.

    A workspace is set aside when its listing is refused while another one is answered, or when its status is not
    `NORMAL`. It is listed again every hour. One that was readable is set aside only after `LOST_S` of refusals; until
    then they are failures, and so is every failure that is no refusal. With `fixed` (ids of the settings) nothing is
    set aside, because somebody asked for it.
    """

    def __init__(self, clock: Clock, *, project: str = "", fixed: bool = False) -> None:
        self._clock = clock
        self._project = project
        self._fixed = fixed
        self._workspaces: dict[str, _Workspace] = {}

    def update(self, listed: Mapping[str, tuple[str, str]]) -> None:
        """Take over a list of workspaces: name and status by id. Those that are no longer listed are dropped."""
        self._workspaces = {key: self._workspaces.get(key) or _Workspace() for key in listed}
        for key, (name, status) in listed.items():
            workspace = self._workspaces[key]
            workspace.name = name
            if status and status.upper() != USABLE:
                self._set_aside(key, f"its status is {status}")
            elif workspace.aside_until is not None and workspace.reason.startswith("its status"):
                workspace.aside_until = self._clock.monotonic()  # its listing decides

    @property
    def set_aside(self) -> frozenset[str]:
        """Workspaces that are not listed now."""
        now = self._clock.monotonic()
        return frozenset(
            key
            for key, each in self._workspaces.items()
            if each.aside_until is not None and now < each.aside_until and not self._fixed
        )

    def usable(self, ids: Collection[str]) -> tuple[str, ...]:
        """Return the ids without those that are set aside; all of them when nothing would be left."""
        aside = self.set_aside
        return tuple(key for key in ids if key not in aside) or tuple(ids)

    def entered(self, ids: Collection[str]) -> None:
        """Record that these workspaces were listed."""
        for key in ids:
            workspace = self._workspaces.setdefault(key, _Workspace())
            if workspace.aside_until is not None:
                _log.info("workspace.accessible", project=self._project, workspace_id=key, name=workspace.name)
            workspace.is_entered, workspace.refused_at, workspace.aside_until = True, None, None

    def judge(self, refused: Mapping[str, CloudError], *, report: Callable[[CloudError], None]) -> frozenset[str]:
        """Return which of the workspaces, refused while others were listed, are set aside; report the others."""
        for key, error in refused.items():
            workspace = self._workspaces.setdefault(key, _Workspace())
            now = self._clock.monotonic()
            if workspace.refused_at is None:
                workspace.refused_at = now
            if self._fixed or (workspace.is_entered and now - workspace.refused_at < LOST_S):
                report(error)
            else:
                self._set_aside(key, str(error))
        return self.set_aside & refused.keys()

    def states(self) -> tuple[WorkspaceState, ...]:
        """Return the workspaces whose access is known."""
        return tuple(
            WorkspaceState(
                workspace_id=key, name=each.name, accessible=each.aside_until is None and each.refused_at is None
            )
            for key, each in self._workspaces.items()
            if each.is_entered or each.aside_until is not None or each.refused_at is not None
        )

    def _set_aside(self, key: str, reason: str) -> None:
        workspace = self._workspaces[key]
        if workspace.aside_until is None:
            _log.warning(
                "workspace.set_aside", project=self._project, workspace_id=key, name=workspace.name, reason=reason
            )
        workspace.aside_until = self._clock.monotonic() + RECHECK_S
        workspace.reason = reason
        workspace.is_entered = False
