"""Selects the API generations of a project: those in the settings, or those that answer a probe."""

from collections.abc import Awaitable, Callable, Mapping

from exporter.cloud.cached import Cached
from exporter.cloud.http.endpoint import Caller
from exporter.cloud.http.errors import CloudError, Refused, Unsupported
from exporter.cloud.v1.endpoints import JOB_LIST
from exporter.cloud.v2.endpoints import SEARCH, search_body
from exporter.cloud.workspaces import DEFAULT
from exporter.domain.job import Api
from exporter.domain.source import Clock, JobSource

PROBE_S = 3600.0
"""How long the result of a probe is used: generations appear and disappear with releases of the cloud."""

RECHECK_S = 60.0
"""How soon a probe is repeated that failed, or that did not find a generation which existed before."""


class FixedSources:
    """The generations in the settings."""

    def __init__(self, sources: tuple[JobSource, ...]) -> None:
        self._sources = sources

    async def current(self) -> tuple[JobSource, ...]:
        """Return them."""
        return self._sources


class ProbedSources:
    """The generations that exist, detected by one small listing call each, every hour.

    A generation is absent only if the cloud answers that there is no such call. One that existed before must be
    missing twice in a row: a gateway under maintenance returns the same response, and its jobs would be hidden for an
    hour. Any other failure proves nothing and leaves the last result. A generation that never answered is included if
    the other one exists, so that polls fail visibly instead of showing no jobs.

    `make_v1` and `make_v2` are called at most once each.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        make_v1: Callable[[], JobSource],
        make_v2: Callable[[], JobSource],
        clock: Clock,
    ) -> None:
        self._caller = caller
        self._factories: Mapping[Api, Callable[[], JobSource]] = {Api.V1: make_v1, Api.V2: make_v2}
        self._sources_by_api: dict[Api, JobSource] = {}
        self._exists: dict[Api, bool] = {}
        self._missing_once: set[Api] = set()
        self._sources: Cached[tuple[JobSource, ...]] = Cached(clock, ttl_s=PROBE_S)

    async def current(self) -> tuple[JobSource, ...]:
        """Return the current sources; probes first when the last result has expired.

        Raises Unsupported when neither generation exists, and the CloudError of a probe while none is known to exist.
        """
        return self._sources.get() or await self._probe()

    async def _probe(self) -> tuple[JobSource, ...]:
        failures: dict[Api, CloudError] = {}
        missing_once: set[Api] = set()
        for api, probe in ((Api.V1, self._probe_v1), (Api.V2, self._probe_v2)):
            try:
                await probe()
            except Unsupported:
                if self._exists.get(api) and api not in self._missing_once:
                    missing_once.add(api)
                else:
                    self._exists[api] = False
            except Refused:
                self._exists[api] = True  # it exists and refused the parameters
            except CloudError as error:
                failures[api] = error
                missing_once |= self._missing_once & {api}  # a failure proves nothing: still missing once
            else:
                self._exists[api] = True
        self._missing_once = missing_once
        if not any(self._exists.values()):
            if failures:
                raise next(iter(failures.values()))
            raise Unsupported("probe", "neither the v1 nor the v2 training API exists at this endpoint")
        sources = tuple(self._source(api) for api in Api if self._exists.get(api, True))
        self._sources.set(sources, ttl_s=RECHECK_S if failures or missing_once else PROBE_S)
        return sources

    def _source(self, api: Api) -> JobSource:
        if api not in self._sources_by_api:
            self._sources_by_api[api] = self._factories[api]()
        return self._sources_by_api[api]

    def _probe_v1(self) -> Awaitable[object]:
        return self._caller.call(JOB_LIST, query={"workspace_id": DEFAULT, "per_page": "1", "page": "1"})

    def _probe_v2(self) -> Awaitable[object]:
        return self._caller.call(SEARCH, body=search_body(workspace_id=DEFAULT, limit=1))
