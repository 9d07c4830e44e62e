"""Switches for behaviour in which a real ModelArts may differ from its documents."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        "v2-offset-records": "the search's offset counts records; normally it counts pages",
        "v2-offset-ignored": "the search's offset has no effect: every page is the first one",
        "v2-count-page": "the search's count is the rows on this page; normally all that match",
        "v2-filters-ignored": "the search's filters have no effect",
        "v2-unified-jobs-refused": "the search refuses unified_jobs: 400; normally it lists fine-tuning jobs with it",
        "v2-numbers-as-strings": "every number in a v2 response is a JSON string",
        "v2-metrics-204": "usage is never available: 204 without a body",
        "v2-metrics-twice": "each usage series is followed by one of the same name with half its values",
        "usage-full-minutes": "series have two slots before the start and a value for each full minute",
        "usage-completed-slots": "series have no slot for the minute under way",
        "usage-late": "samples arrive three minutes late",
        "usage-stopped": "metric collectors die after 20 minutes of a run: only slots without samples follow",
        "usage-frozen": "metric collectors die after 20 minutes of a run: no slots follow",
        "usage-late-task": "the last of several tasks joins after five minutes, and its series begins there",
        "v1-overview-missing": "the overview of all versions does not exist: 404 APIG.0101",
        "v1-overview-one-user": "the overview has only the versions of one user, the first of the project",
        "v1-lists-v2": "v1's overview lists the jobs of v2 as well, each as a version with the same name and times",
        "v1-overview-as-job": 'the overview is routed as a job with the id "versions": 400',
        "v1-overview-gpu-per-node": "the overview's gpu_num and npu_num are for one node; normally for the whole job",
        "v1-overview-offset-pages": "the overview's offset counts pages; normally records",
        "v1-pages-repeat": "offset and page have no effect in v1: every page is the first one",
        "v1-overview-no-limit-0": "the overview rejects limit=0; normally it returns all versions",
        "v1-page-clamped": "per_page of the v1 job list is capped at 100 without an error",
        "v1-metrics-text": "v1 metric lists are JSON text everywhere; normally the version's detail has objects",
        "v1-metrics-object": "v1 metric lists are objects everywhere",
        "v1-metrics-null": "v1 metric lists are null everywhere",
        "v1-numbers-as-strings": "every number in a v1 response is a JSON string",
        "v1-failures-400": "v1 failures have status 400; normally 200",
        "v1-user-missing": "v1 job rows have no user",
        "no-v1": "there is no v1 API: 404 APIG.0101",
        "no-v2": "there is no v2 API: 404 APIG.0101",
        "shifting-pages": "before each page but the first a job is submitted, and the list shifts",
        "vanishing": "a job is deleted as soon as its detail, usage or versions are requested",
        "workspace-forbidden": "the last workspace may not be entered: 401 ModelArts.4203 for its jobs",
        "workspace-unknown": "the last workspace does not exist for the listings of jobs: 400 ModelArts.0102",
        "workspace-deleting": "the last workspace is being deleted: status DELETING, and 400 ModelArts.0102",
        "accessible-ignored": "filter_accessible has no effect; normally it leaves out what may not be entered",
        "accessible-refused": "the parameter filter_accessible is refused: 400 ModelArts.0104",
        "lone-surrogates": "names and descriptions end in the escape of a lone surrogate, as after a cut",
        "byte-order-mark": "every response begins with a byte order mark",
        "secrets-in-answers": "the responses about every job contain secrets; normally about one job in four",
        "unknown-values": "one job in five has a phase, status, kind or type that no document lists",
        "no-pools": "there are no calls about pools, node flavors and quotas: 404 APIG.0101",
        "pools-forbidden": "calls about pools, node flavors and quotas are forbidden: 403",
        "pools-objects": "nodes of a pool with one flavor are an object; normally an array with one item",
        "pools-statics": "workload statistics have the key statics, and their counts are strings",
        "pools-no-statistics": "there are no workload statistics, only the list of workloads: 404 APIG.0101",
        "pools-capacity-available": "the capacity of a pool excludes abnormal nodes; normally it includes them",
        "metadata-no-token": "the metadata service has no token call (404); its keys require none",
        "metadata-no-agency": "the node has no agency: the metadata service returns no keys",
    }
)
"""Every quirk, and what it does."""


class Quirks:
    """The active quirks."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._active: set[str] = set()
        self.on(*names)

    def __contains__(self, name: object) -> bool:
        if name not in QUIRKS:
            raise ValueError(_unknown(name))
        return name in self._active

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._active))

    def on(self, *names: str) -> None:
        """Activate; raises ValueError for a name that is not in QUIRKS, and then changes nothing."""
        for name in names:
            if name not in QUIRKS:
                raise ValueError(_unknown(name))
        self._active.update(names)

    def off(self, *names: str) -> None:
        """Deactivate; raises ValueError for a name that is not in QUIRKS."""
        for name in names:
            if name not in QUIRKS:
                raise ValueError(_unknown(name))
        self._active.difference_update(names)

    def clear(self) -> None:
        """Deactivate all quirks."""
        self._active.clear()


def _unknown(name: object) -> str:
    return f"no quirk {name!r}; there are: {', '.join(QUIRKS)}"
