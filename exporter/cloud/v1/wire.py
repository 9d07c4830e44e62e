"""The fields of v1 responses in use. Decoding drops parameters, commands, data addresses and all other fields.

Scalars are not typed, because any of them may be a number, text, null or missing (API reference §2);
`exporter.cloud.decode.values` reads them. Lists hold raw items, so that a bad item is skipped and the rest is kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from exporter.cloud.decode.lenient import decode
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.errors import InvalidResponse

NOTHING = msgspec.Raw(b"null")

Rows = list[msgspec.Raw] | msgspec.UnsetType | None
"""The items of a listing. null is an empty listing; unset: the response does not have the field."""

Item = TypeVar("Item", bound=msgspec.Struct)


class OverviewPage(msgspec.Struct, kw_only=True):
    """The versions of all jobs of a workspace (API reference §2.1)."""

    total_count: Any = None
    versions: Rows = msgspec.UNSET


class OverviewRow(msgspec.Struct, kw_only=True, gc=False):
    """One version of the overview: no job id, no user, no node count."""

    version_id: Any = None
    version_name: Any = None
    """A job's name in the published sample, "V0001" elsewhere."""
    status: Any = None
    create_time: Any = None
    start_time: Any = None
    end_time: Any = None
    duration: Any = None
    pool_id: Any = None
    flavor_code: Any = None
    npu_num: Any = None
    gpu_num: Any = None


class JobPage(msgspec.Struct, kw_only=True):
    """One page of the job list (§2.2). The count is only a hint."""

    job_total_count: Any = None
    jobs: Rows = msgspec.UNSET


class JobRow(msgspec.Struct, kw_only=True, gc=False):
    """One job, with some fields of its newest version."""

    job_id: Any = None
    job_name: Any = None
    version_id: Any = None
    status: Any = None
    create_time: Any = None
    duration: Any = None
    version_count: Any = None
    user: Any = None
    """An object with a `name`; observed, not documented."""


class VersionPage(msgspec.Struct, kw_only=True):
    """The versions of one job (§2.3)."""

    job_name: Any = None
    version_count: Any = None
    versions: Rows = msgspec.UNSET


class VersionRecord(msgspec.Struct, kw_only=True):
    """One version: an item of `VersionPage`, or the flat response of the detail call, which has two more fields."""

    job_id: Any = None
    job_name: Any = None
    version_id: Any = None
    version_name: Any = None
    status: Any = None
    create_time: Any = None
    start_time: Any = None
    duration: Any = None
    gpu_num: Any = None
    """Cards per node. The boolean `gpu` and `billing.unit_num` count something else (trap 23)."""
    gpu_type: Any = None
    npu_info: Any = None
    worker_server_num: Any = None
    pool_id: Any = None
    pool_type: Any = None
    flavor_code: Any = None
    flavor_type: Any = None
    flavor_info: Any = None
    spec_code: Any = None
    engine_name: Any = None
    engine_version: Any = None
    system_metric_list: msgspec.Raw = NOTHING
    """Not decoded here: three days of samples are 35 000 numbers, and a listing needs none of them."""
    model_metric_list: msgspec.Raw = NOTHING


class WorkspacePage(msgspec.Struct, kw_only=True):
    """The workspaces of a project; both generations use them."""

    total_count: Any = None
    workspaces: Rows = msgspec.UNSET


class WorkspaceRow(msgspec.Struct, kw_only=True):
    """One workspace; the default one has the id "0", or 0 as a number."""

    id: Any = None
    name: Any = None
    status: Any = None
    """NORMAL, or that of a workspace that is being created or deleted (fact 43)."""


def read(raw: msgspec.Raw, kind: type[Item], *, field: str, note: NoteUnknown) -> Item | None:
    """Decode one item of a list, without its invalid parts; None when it is not an object (noted)."""
    return decode(raw, kind, field=field, note=note)


def listed(rows: Rows, *, total: int | None, operation: str) -> Sequence[msgspec.Raw]:
    """The raw items of a listing.

    Raises InvalidResponse when the response has neither items nor a total: such a response is not an empty listing.
    """
    if rows is msgspec.UNSET and total is None:
        raise InvalidResponse(operation, "the response has neither rows nor a total")
    return rows or []


def rows(
    raws: Iterable[msgspec.Raw] | msgspec.UnsetType | None, kind: type[Item], *, field: str, note: NoteUnknown
) -> Iterator[tuple[msgspec.Raw, Item]]:
    """Decode the items of a list, without the bad ones; yields each with its raw JSON."""
    for raw in raws or ():
        item = read(raw, kind, field=field, note=note)
        if item is not None:
            yield raw, item
