"""Ways in which a real ModelArts may differ from its documents, each a switch."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        "v2-offset-records": "the search's offset counts records; normally it counts pages",
        "v2-offset-ignored": "the search's offset has no effect: every page is the first one",
        "v2-count-page": "the search's count is the rows on this page; normally all that match",
        "v2-filters-ignored": "the search's filters have no effect",
        "v2-numbers-as-strings": "every number in a v2 answer is a JSON string",
        "v2-metrics-204": "usage is never ready: 204 without a body",
        "v1-overview-missing": "the overview of all versions does not exist: 404 APIG.0101",
        "v1-overview-as-job": 'the overview is routed as the job called "versions": 400',
        "v1-overview-gpu-per-node": "the overview's gpu_num and npu_num are for one node; normally for the whole job",
        "v1-overview-offset-pages": "the overview's offset counts pages; normally records",
        "v1-pages-repeat": "offset and page have no effect in v1: every page is the first one",
        "v1-overview-no-limit-0": "the overview refuses limit=0; normally it means everything",
        "v1-page-clamped": "per_page of the v1 job list is silently cut to 100",
        "v1-metrics-text": "v1 metric lists are JSON text everywhere; normally the version's detail has objects",
        "v1-metrics-object": "v1 metric lists are objects everywhere",
        "v1-metrics-null": "v1 metric lists are null everywhere",
        "v1-numbers-as-strings": "every number in a v1 answer is a JSON string",
        "v1-failures-400": "v1 failures come with status 400; normally with 200",
        "v1-user-missing": "v1 job rows do not name their user",
        "no-v1": "there is no old generation: 404 APIG.0101",
        "no-v2": "there is no new generation: 404 APIG.0101",
        "shifting-pages": "before each page but the first, somebody submits a job, and the list shifts",
        "vanishing": "a job is deleted the moment its detail, usage or versions are asked for",
        "secrets-in-answers": "every job carries secrets in its answers; normally one in four",
        "unknown-values": "one job in five has a phase, status, kind or type that no document knows",
        "no-pools": "there are no calls about pools, node flavors and quotas: 404 APIG.0101",
        "pools-forbidden": "calls about pools, node flavors and quotas are not permitted: 403",
        "pools-objects": "a pool's nodes of one flavor are an object; normally they are an array of one",
        "pools-statics": "workload statistics are called statics, and their counts are text",
        "pools-no-statistics": "there are no workload statistics of a pool, only the list: 404 APIG.0101",
        "pools-capacity-available": "the capacity of a pool leaves out abnormal nodes; normally they are in it",
        "metadata-no-token": "the metadata service has no token call (404); its keys need none",
        "metadata-no-agency": "the node has no agency: no keys from the metadata service",
    }
)
"""Every switch there is, and what it does."""


class Quirks:
    """The switches that are on."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._on: set[str] = set()
        self.on(*names)

    def __contains__(self, name: str) -> bool:
        if name not in QUIRKS:
            raise ValueError(_unknown(name))
        return name in self._on

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._on))

    def on(self, *names: str) -> None:
        """Switch on; raises ValueError on a name that is not in QUIRKS, and then changes nothing."""
        for name in names:
            if name not in QUIRKS:
                raise ValueError(_unknown(name))
        self._on.update(names)

    def off(self, *names: str) -> None:
        """Switch off; raises ValueError on a name that is not in QUIRKS."""
        for name in names:
            if name not in QUIRKS:
                raise ValueError(_unknown(name))
        self._on.difference_update(names)

    def clear(self) -> None:
        """Switch everything off."""
        self._on.clear()


def _unknown(name: str) -> str:
    return f"no quirk {name!r}; there are: {', '.join(QUIRKS)}"
