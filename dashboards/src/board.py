"""A board: its panels in rows, its variables, annotations and links, and its JSON."""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from . import link
from .annotation import Annotation
from .variable import Variable

_WIDTH = 24


@dataclass(frozen=True)
class Row:
    """Panels under a heading, from left to right and then down. Panels in one line should have the same height."""

    title: str
    panels: Sequence[model.Panel]
    collapsed: bool = False


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard. Its uid is also its address in Grafana and the name of its file."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    annotations: Sequence[Annotation] = ()
    time_from: str = "now-6h"

    def build(self) -> model.Dashboard:
        """Build the model. Raises ValueError when panels have the same title: panel ids are hashes of titles."""
        panels = _layout(self.rows)
        titles = [panel.title for panel in _flatten(panels)]
        ids = [panel.id_val for panel in _flatten(panels)]
        same = sorted({str(title) for title, id_val in zip(titles, ids, strict=True) if ids.count(id_val) > 1})
        if same:
            raise ValueError(f"board {self.uid}: panels have the same title or id; give them other titles: {same}")
        return model.Dashboard(
            uid=self.uid,
            title=self.title,
            description=self.description,
            tags=[link.TAG],
            timezone="browser",
            editable=False,
            graph_tooltip=model.DashboardCursorSync.CROSSHAIR,
            time=model.DashboardDashboardTime(from_val=self.time_from, to="now"),
            timepicker=model.TimePickerConfig(),
            refresh="1m",
            panels=panels,
            templating=model.DashboardDashboardTemplating(list_val=[each.build() for each in self.variables]),
            annotations=model.AnnotationContainer(list_val=[*self.annotations]),
            links=[link.to_all_boards().build()],
        )

    def render(self) -> str:
        """Return the text of its JSON file; the same board always gives the same text."""
        return json.dumps(self.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _layout(rows: Iterable[Row]) -> list[model.Panel | model.RowPanel]:
    found: list[model.Panel | model.RowPanel] = []
    y = 0
    for row in rows:
        heading = model.RowPanel(
            title=row.title,
            collapsed=row.collapsed,
            id_val=_id("row", row.title),
            grid_pos=model.GridPos(h=1, w=_WIDTH, x=0, y=y),
            panels=[],
        )
        found.append(heading)
        y = _place(row.panels, y=y + 1)
        if row.collapsed:
            heading.panels = list(row.panels)
        else:
            found.extend(row.panels)
    return found


def _place(panels: Iterable[model.Panel], *, y: int) -> int:
    """Set position and id of each panel; return the y of the next row."""
    x = height = 0
    for panel in panels:
        at = panel.grid_pos or model.GridPos()
        if x + at.w > _WIDTH:
            x, y, height = 0, y + height, 0
        at.x, at.y = x, y
        panel.grid_pos = at
        panel.id_val = _id("panel", panel.title or "")
        x, height = x + at.w, max(height, at.h)
    return y + height


def _id(kind: str, title: str) -> int:
    """Return an id that does not depend on other panels, because links and alerts refer to panels by id."""
    return zlib.crc32(f"{kind} {title}".encode()) % 1_000_000 + 1


def _flatten(panels: Iterable[model.Panel | model.RowPanel]) -> Iterator[model.Panel | model.RowPanel]:
    for panel in panels:
        yield panel
        if isinstance(panel, model.RowPanel) and panel.collapsed:
            yield from panel.panels
