"""Panels as an operator knows them, each with what every panel must have: a question answered, a unit, thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import heatmap as heat
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus

from . import palette
from .palette import PLAIN, Thresholds
from .variable import DATASOURCE

SCREENFUL = 20
"""Lines, bars or strips that one panel may show at most."""

ABSENT = "-"
"""What a cell shows for which there is no reading."""

_REF_IDS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Query:
    """One query of a panel and what its lines are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands above and around any panel."""

    title: str
    about: str
    """The question it answers and how to read the answer: Grafana shows it behind the (i)."""
    unit: str
    width: int
    """In 24ths of the board."""
    height: int
    """In rows of 30 pixels."""
    thresholds: Thresholds = PLAIN
    no_value: str = ""
    """Shown in place of "No data", where having none is an answer. Tables show ABSENT in each empty cell instead."""
    decimals: int | None = None
    links: tuple[model.DashboardLink, ...] = ()
    steps: int | None = None
    """Into about how many `$__interval` the chosen time is cut, none below a minute; for what is added up over it."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: a label, or the value of the query with that letter."""

    title: str
    label: str = ""
    value: str = ""
    unit: str = "string"
    decimals: int | None = None
    thresholds: Thresholds | None = None
    """Colours the text; a ratio with thresholds is drawn as a bar."""
    words: Sequence[model.ValueMapping] = ()
    link: model.DashboardLink | None = None
    width: int | None = None
    hidden: bool = False
    """There for links only."""


def number(
    head: Head, query: Query, *, words: Sequence[model.ValueMapping] = (), titled: bool = False
) -> model.Panel:
    """One big number, as it is now; `titled` with its legend, where there can be several."""
    panel = (
        stat.Panel()
        .color_mode(options.BigValueColorMode.VALUE)
        .graph_mode(options.BigValueGraphMode.NONE)
        .text_mode(options.BigValueTextMode.VALUE_AND_NAME if titled else options.BigValueTextMode.VALUE)
        .justify_mode(options.BigValueJustifyMode.CENTER)
        .reduce_options(_last())
        .mappings(list(words))
        .build()
    )
    return _finished(panel, head, _targets([query], instant=True))


def graph(
    head: Head,
    *lines: Query,
    stacked: bool = False,
    whole: bool = False,
    colours: Mapping[str, str] | None = None,
    dashed: str = "",
) -> model.Panel:
    """Lines over time. Thresholds other than PLAIN are drawn as lines.

    `colours` fixes the colour of a legend; what matches the pattern `dashed` stands out and does not stack; `whole`
    draws a ratio between nothing and all.
    """
    panel = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(options.VisibilityMode.NEVER)
        .span_nulls(span_nulls=False)
        .axis_soft_min(0)
        .stacking(common.StackingConfig().mode(options.StackingMode.NORMAL if stacked else options.StackingMode.NONE))
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(
                options.GraphThresholdsStyleMode.OFF
                if head.thresholds is PLAIN
                else options.GraphThresholdsStyleMode.DASHED
            )
        )
    )
    if whole:
        panel.min(0).max(1)
    for legend, colour in (colours or {}).items():
        panel.override_by_name(legend, [model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
    if dashed:
        panel.override_by_regexp(
            dashed,
            [
                model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
                model.DynamicConfigValue("custom.lineWidth", 2),
                model.DynamicConfigValue("custom.fillOpacity", 0),
                model.DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"}),
            ],
        )
    return _finished(panel.build(), head, _targets(lines, instant=False))


def heatmap(head: Head, query: Query) -> model.Panel:
    """How a histogram's observations spread over time; the query gives its buckets by `le`."""
    panel = (
        heat.Panel()
        .calculate(calculate=False)
        .color(heat.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heat.YAxisConfig().unit(head.unit))
        .cell_gap(1)
        .show_value(options.VisibilityMode.NEVER)
        .hide_legend()
        .build()
    )
    (target,) = _targets([query], instant=False)
    target.format_val = prometheus.PromQueryFormat.HEATMAP
    return _finished(panel, head, [target])


def bars(head: Head, *queries: Query) -> model.Panel:
    """Compare a few now, the longest bar first where the query sorts."""
    panel = (
        bargauge.Panel()
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.BASIC)
        .value_mode(options.BarGaugeValueMode.COLOR)
        .name_placement(options.BarGaugeNamePlacement.AUTO)
        .show_unfilled(show_unfilled=True)
        .sizing(options.BarGaugeSizing.AUTO)
        .text(common.VizTextDisplayOptions().title_size(13).value_size(16))
        .min_viz_height(16)
        .min_viz_width(8)
        .max_viz_height(32)
        .reduce_options(_last())
        .min(0)
        .build()
    )
    return _finished(panel, head, _targets(queries, instant=True))


def timeline(head: Head, query: Query) -> model.Panel:
    """A strip for each job, coloured by its status over time; the query gives status codes."""
    panel = (
        statetimeline.Panel()
        .mappings(palette.status_mapping())
        .show_value(options.VisibilityMode.AUTO)
        .merge_values(merge_values=True)
        .row_height(0.85)
        .line_width(0)
        .fill_opacity(85)
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.SINGLE).sort(options.SortOrder.NONE))
        .build()
    )
    return _finished(panel, head, _targets([query], instant=False))


def rows(
    head: Head,
    queries: Mapping[str, str],
    columns: Sequence[Column],
    *,
    sort_by: str,
    descending: bool = True,
    drop: Sequence[str] = (),
) -> model.Panel:
    """A table: each query is a letter with an expression, and rows that agree in the labels they share become one.

    The first query makes the rows; its labels must include those of all others, bar what they bring in themselves.
    Labels that are neither in `columns` nor in `drop` come last.
    """
    panel = (
        table.Panel()
        .show_header(show_header=True)
        .cell_height(options.TableCellHeight.SM)
        .align(options.FieldTextAlignment.AUTO)
        .filterable(filterable=len(columns) > 1)
        .footer(
            common.TableFooterOptions()
            .show(show=False)
            .reducer(["sum"])
            .count_rows(count_rows=False)
            .enable_pagination(enable_pagination=True)
        )
        .sort_by([common.TableSortByFieldState().display_name(sort_by).desc(desc=descending)])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_arranged(queries, columns, drop))
    )
    for column in columns:
        panel.override_by_name(column.title, _cell(column))
    targets = _targets(
        [Query(expr) for expr in queries.values()], instant=True, as_table=True, letters=tuple(queries)
    )
    return _finished(panel.no_value(ABSENT).build(), head, targets)


def _arranged(
    queries: Mapping[str, str], columns: Sequence[Column], drop: Sequence[str]
) -> model.DataTransformerConfig:
    """Name and order the columns and leave out the rest.

    Grafana calls the value of the only query "Value", that of one among several "Value #A".
    """
    first = next(iter(queries))
    fields = [
        (name, column)
        for column in columns
        for name in (
            [column.label]
            if column.label
            else [f"Value #{column.value}", *(["Value"] if column.value == first else [])]
        )
    ]
    kept = {name for name, _ in fields}
    dropped = [*drop, "Time", "Value", *(f"Value #{letter}" for letter in queries)]
    return model.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {name: True for name in dropped if name not in kept},
            "includeByName": {},
            "indexByName": {name: index for index, (name, _) in enumerate(fields)},
            "renameByName": {name: column.title for name, column in fields if name != column.title},
        },
    )


def _cell(column: Column) -> list[model.DynamicConfigValue]:
    """What a table is told about one column."""
    found: dict[str, object] = {"unit": column.unit}
    if column.decimals is not None:
        found["decimals"] = column.decimals
    if column.thresholds is not None:
        found["thresholds"] = column.thresholds.build()
        found["color"] = {"mode": "thresholds"}
        found["mappings"] = palette.nothing_as(ABSENT)
        if column.unit == "percentunit":
            found |= {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "min": 0, "max": 1}
        else:
            found["custom.cellOptions"] = {"type": "color-text"}
    if column.words:
        found |= {"mappings": list(column.words), "custom.cellOptions": {"type": "color-text"}}
    if column.link is not None:
        found["links"] = [column.link]
    if column.width is not None:
        found["custom.width"] = column.width
    if column.hidden:
        found["custom.hidden"] = True
    return [model.DynamicConfigValue(name, value) for name, value in found.items()]


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False).fields("")


def _targets(
    queries: Sequence[Query], *, instant: bool, as_table: bool = False, letters: Sequence[str] = _REF_IDS
) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery(
            expr=query.expr,
            ref_id=letter,
            legend_format=query.legend or "__auto",
            instant=instant,
            range_val=not instant,
            format_val=prometheus.PromQueryFormat.TABLE if as_table else prometheus.PromQueryFormat.TIME_SERIES,
            editor_mode=prometheus.QueryEditorMode.CODE,
            datasource=DATASOURCE,
        )
        for letter, query in zip(letters, queries, strict=False)
    ]


def _finished(panel: model.Panel, head: Head, targets: Sequence[prometheus.Dataquery]) -> model.Panel:
    panel.title = head.title
    panel.description = head.about
    panel.datasource = DATASOURCE
    panel.grid_pos = model.GridPos(w=head.width, h=head.height)
    panel.targets = list(targets)
    if head.steps is not None:
        panel.max_data_points = float(head.steps)
        panel.interval = "1m"
    source = panel.field_config = panel.field_config or model.FieldConfigSource()
    defaults = source.defaults
    defaults.unit = head.unit
    defaults.decimals = head.decimals
    defaults.thresholds = head.thresholds.build()
    defaults.color = defaults.color or model.FieldColor(
        mode=model.FieldColorModeId.PALETTE_CLASSIC
        if panel.type_val == "timeseries"
        else model.FieldColorModeId.THRESHOLDS
    )
    if head.no_value:
        defaults.no_value = head.no_value
    if head.links:
        defaults.links = [*head.links]
    return panel
