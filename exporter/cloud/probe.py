"""Which API generations a project is asked by: those the settings name, or those that answer a probe."""

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
"""How long the answer of a probe holds: generations come and go with releases of the cloud."""

DOUBT_S = 60.0
"""How soon a probe is repeated that was not answered, found nothing, or missed a generation that was there."""


class FixedSources:
    """The generations that the settings name."""

    def __init__(self, sources: tuple[JobSource, ...]) -> None:
        self._sources = sources

    async def current(self) -> tuple[JobSource, ...]:
        """Return them."""
        return self._sources


class ProbedSources:
    """The generations that exist here, by one small listing call each, repeated every hour.

    A generation is off only when the cloud says that there is no such call. One that was there must be missed twice,
    because a gateway that is being changed says so too, and its jobs would be hidden for an hour while all is green.
    Any other failure says nothing: the last answer stands, and a generation that was never heard of is taken along as
    long as the other one is there, so that its silence shows as failed polls rather than as an absence of jobs.

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
        self._makers: Mapping[Api, Callable[[], JobSource]] = {Api.V1: make_v1, Api.V2: make_v2}
        self._made: dict[Api, JobSource] = {}
        self._exists: dict[Api, bool] = {}
        self._missed: set[Api] = set()
        self._sources: Cached[tuple[JobSource, ...]] = Cached(clock, ttl_s=PROBE_S)

    async def current(self) -> tuple[JobSource, ...]:
        """Return the sources to ask now, probing first when that is due.

        Raises Unsupported when neither generation exists here, and the CloudError of a probe as long as none is known
        to exist.
        """
        return self._sources.get() or await self._probe()

    async def _probe(self) -> tuple[JobSource, ...]:
        failures: dict[Api, CloudError] = {}
        missed: set[Api] = set()
        for api, ask in ((Api.V1, self._probe_v1), (Api.V2, self._probe_v2)):
            try:
                await ask()
            except Unsupported:
                if self._exists.get(api) and api not in self._missed:
                    missed.add(api)
                else:
                    self._exists[api] = False
            except Refused:
                self._exists[api] = True  # it is there, and did not like the question
            except CloudError as error:
                failures[api] = error
                missed |= self._missed & {api}  # it said nothing, so the doubt stands
            else:
                self._exists[api] = True
        self._missed = missed
        if not any(self._exists.values()):
            if failures:
                raise next(iter(failures.values()))
            raise Unsupported("probe", "neither the v1 nor the v2 training API exists at this endpoint")
        sources = tuple(self._source(api) for api in Api if self._exists.get(api, True))
        self._sources.set(sources, ttl_s=DOUBT_S if failures or missed else PROBE_S)
        return sources

    def _source(self, api: Api) -> JobSource:
        if api not in self._made:
            self._made[api] = self._makers[api]()
        return self._made[api]

    def _probe_v1(self) -> Awaitable[object]:
        return self._caller.call(JOB_LIST, query={"workspace_id": DEFAULT, "per_page": "1", "page": "1"})

    def _probe_v2(self) -> Awaitable[object]:
        return self._caller.call(SEARCH, body=search_body(workspace_id=DEFAULT, limit=1))
