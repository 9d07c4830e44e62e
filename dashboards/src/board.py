"""A board: its panels laid out in rows, its variables, marks and links; and how it becomes a file."""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from . import link
from .annotation import Mark
from .variable import Variable

_WIDTH = 24


@dataclass(frozen=True)
class Row:
    """Panels under a heading, from left to right and then down; those side by side should be of one height."""

    title: str
    panels: Sequence[model.Panel]
    collapsed: bool = False


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard. The uid is its address and the name of its file."""

    uid: str
    title: str
    about: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    marks: Sequence[Mark] = ()
    time_from: str = "now-6h"
    keywords: Sequence[str] = field(default_factory=tuple)

    def build(self) -> model.Dashboard:
        """Put it together. Raises ValueError when two panels have one title: their ids come from it."""
        panels = _laid_out(self.rows)
        ids = [panel.id_val for panel in _every(panels)]
        if len(set(ids)) != len(ids):
            raise ValueError(f"{self.uid}: two panels would have one id; give them other titles")
        return model.Dashboard(
            uid=self.uid,
            title=self.title,
            description=self.about,
            tags=[link.TAG, *self.keywords],
            timezone="browser",
            editable=False,
            graph_tooltip=model.DashboardCursorSync.CROSSHAIR,
            time=model.DashboardDashboardTime(from_val=self.time_from, to="now"),
            timepicker=model.TimePickerConfig(),
            refresh="1m",
            panels=panels,
            templating=model.DashboardDashboardTemplating(list_val=[each.build() for each in self.variables]),
            annotations=model.AnnotationContainer(list_val=[*self.marks]),
            links=[link.between_boards().build()],
        )

    def render(self) -> str:
        """Make the text of its file; the same board always makes the same text."""
        return json.dumps(self.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _laid_out(rows: Iterable[Row]) -> list[model.Panel | model.RowPanel]:
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
        y = _flow(row.panels, y=y + 1)
        if row.collapsed:
            heading.panels = list(row.panels)
        else:
            found.extend(row.panels)
    return found


def _flow(panels: Iterable[model.Panel], *, y: int) -> int:
    """Give each panel its place; return where the next row may begin."""
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
    """Number that a panel keeps whatever is added around it, because links and alerts name panels by it."""
    return zlib.crc32(f"{kind} {title}".encode()) % 1_000_000 + 1


def _every(panels: Iterable[model.Panel | model.RowPanel]) -> Iterable[model.Panel | model.RowPanel]:
    for panel in panels:
        yield panel
        if isinstance(panel, model.RowPanel) and panel.collapsed:
            yield from panel.panels
