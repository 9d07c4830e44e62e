"""Number of nodes of a v2 job over time: `node_count_metrics`, a step function (API reference §7)."""

from collections.abc import Sequence
from typing import Any

from exporter.cloud.decode import values
from exporter.cloud.http.endpoint import NoteUnknown

_FIELD = "v2.status.node_count_metrics"
_PAIR = 2  # [ms, nodes]


def steps(points: Sequence[Any] | None, *, note: NoteUnknown) -> tuple[tuple[float, int], ...]:
    """Pairs of a time (seconds since the epoch) and the number of nodes from then on; empty without data.

    Values repeat around each change, and the last point is "now" or the end, so points without a change are dropped.
    A malformed point, or one before its predecessor, is noted and left out.
    """
    found: list[tuple[float, int]] = []
    latest = 0.0
    for point in points or ():
        if not isinstance(point, list) or len(point) != _PAIR:
            note(_FIELD, "not a pair")
            continue
        moment = values.moment(point[0], field=_FIELD, note=note)
        count = values.count(point[1], field=_FIELD, note=note)
        if moment is None or count is None:
            continue
        if moment < latest:
            note(_FIELD, "earlier than the point before")
            continue
        latest = moment
        if found and found[-1][0] == moment and count != found[-1][1]:
            found.pop()  # two values at one time: the later one is valid
        if not found or found[-1][1] != count:
            found.append((moment, count))
    return tuple(found)
