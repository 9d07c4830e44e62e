"""The types of panels. Each panel has a title, a description, a unit and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import heatmap as heat
from grafana_foundation_sdk.models import common as models
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus

from . import link, palette
from .palette import NEUTRAL, Thresholds
from .variable import DATASOURCE

MAX_SERIES = 20
"""Maximum number of series that a panel shows."""

NO_VALUE = "-"
"""Text of a table cell without a value."""

_REF_IDS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Query:
    """One query of a panel, and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class PanelOptions:
    """Options that every type of panel has."""

    title: str
    description: str
    """What the panel shows and how to read it. Grafana shows it behind the (i)."""
    unit: str
    width: int
    """In grid columns; a board has 24."""
    height: int
    """In grid rows of 30 pixels."""
    thresholds: Thresholds = NEUTRAL
    no_value: str = ""
    """Text instead of "No data", for queries that can be empty. Tables show NO_VALUE in each empty cell."""
    decimals: int | None = None
    links: tuple[model.DashboardLink, ...] = ()
    max_data_points: int | None = None
    """Approximate number of `$__interval` in the time range, each at least a minute; for sums over the time range."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: a label, or the value of the query with this letter."""

    title: str
    label: str = ""
    value: str = ""
    unit: str = "string"
    decimals: int | None = None
    thresholds: Thresholds | None = None
    """Colours of the text; a ratio with thresholds is shown as a bar."""
    mappings: Sequence[model.ValueMapping] = ()
    link: model.DashboardLink | None = None
    width: int | None = None
    hidden: bool = False
    """The column exists only for links."""


JOB_COLUMNS = (
    Column(title="Job", label="job_name", link=link.to_job_of_row(), width=190),
    Column(title="User", label="user"),
    Column(title="Project", label="project"),
    Column(title="Pool", label="pool_id"),
    Column(title="job_id", label="job_id", hidden=True),
)
"""The columns that identify the job of a table row. The column of the id is named job_id, because links read it."""


def stat_panel(
    options: PanelOptions,
    query: Query,
    *,
    mappings: Sequence[model.ValueMapping] = (),
    show_legend: bool = False,
) -> model.Panel:
    """Show the current value as a number; with `show_legend`, for queries with several series."""
    panel = (
        stat.Panel()
        .color_mode(models.BigValueColorMode.VALUE)
        .graph_mode(models.BigValueGraphMode.NONE)
        .text_mode(models.BigValueTextMode.VALUE_AND_NAME if show_legend else models.BigValueTextMode.VALUE)
        .justify_mode(models.BigValueJustifyMode.CENTER)
        .reduce_options(_last())
        .mappings(list(mappings))
        .build()
    )
    return _apply(options, panel, _targets([query], instant=True))


def time_series_panel(
    options: PanelOptions,
    *queries: Query,
    stacked: bool = False,
    zero_to_one: bool = False,
    colours: Mapping[str, str] | None = None,
    dashed: str = "",
) -> model.Panel:
    """Show series over time. Thresholds other than NEUTRAL are drawn as lines.

    `colours` maps legends to colours. Series whose legend matches the pattern `dashed` are dashed and not stacked.
    `zero_to_one` fixes the y axis to 0..1.
    """
    panel = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(models.VisibilityMode.NEVER)
        .span_nulls(span_nulls=False)
        .axis_soft_min(0)
        .stacking(common.StackingConfig().mode(models.StackingMode.NORMAL if stacked else models.StackingMode.NONE))
        .legend(
            common.VizLegendOptions()
            .display_mode(models.LegendDisplayMode.LIST)
            .placement(models.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.MULTI).sort(models.SortOrder.DESCENDING))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(
                models.GraphThresholdsStyleMode.OFF
                if options.thresholds is NEUTRAL
                else models.GraphThresholdsStyleMode.DASHED
            )
        )
    )
    if zero_to_one:
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
    return _apply(options, panel.build(), _targets(queries, instant=False))


def heatmap_panel(options: PanelOptions, query: Query) -> model.Panel:
    """Show the distribution of a histogram over time; the query returns its buckets by `le`."""
    panel = (
        heat.Panel()
        .calculate(calculate=False)
        .color(heat.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heat.YAxisConfig().unit(options.unit))
        .cell_gap(1)
        .show_value(models.VisibilityMode.NEVER)
        .hide_legend()
        .build()
    )
    (target,) = _targets([query], instant=False)
    target.format_val = prometheus.PromQueryFormat.HEATMAP
    return _apply(options, panel, [target])


def bar_gauge_panel(options: PanelOptions, *queries: Query) -> model.Panel:
    """Show current values as bars, in the order of the query."""
    panel = (
        bargauge.Panel()
        .orientation(models.VizOrientation.HORIZONTAL)
        .display_mode(models.BarGaugeDisplayMode.BASIC)
        .value_mode(models.BarGaugeValueMode.COLOR)
        .name_placement(models.BarGaugeNamePlacement.AUTO)
        .show_unfilled(show_unfilled=True)
        .sizing(models.BarGaugeSizing.AUTO)
        .text(common.VizTextDisplayOptions().title_size(13).value_size(16))
        .min_viz_height(16)
        .min_viz_width(8)
        .max_viz_height(32)
        .reduce_options(_last())
        .min(0)
        .build()
    )
    return _apply(options, panel, _targets(queries, instant=True))


def state_timeline_panel(options: PanelOptions, query: Query) -> model.Panel:
    """Show the status of each job over time; the query returns status codes."""
    panel = (
        statetimeline.Panel()
        .mappings(palette.status_mapping())
        .show_value(models.VisibilityMode.AUTO)
        .merge_values(merge_values=True)
        .row_height(0.85)
        .line_width(0)
        .fill_opacity(85)
        .legend(
            common.VizLegendOptions()
            .display_mode(models.LegendDisplayMode.LIST)
            .placement(models.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(models.TooltipDisplayMode.SINGLE).sort(models.SortOrder.NONE))
        .build()
    )
    return _apply(options, panel, _targets([query], instant=False))


def table_panel(
    options: PanelOptions,
    queries: Mapping[str, str],
    columns: Sequence[Column],
    *,
    sort_by: str,
    descending: bool = True,
    drop: Sequence[str] = (),
) -> model.Panel:
    """Show a table. `queries` maps letters to expressions; rows with equal labels are merged into one.

    The first query defines the rows: its labels must include the labels that the other queries share with it. Labels
    that are neither in `columns` nor in `drop` are the last columns.
    """
    panel = (
        table.Panel()
        .show_header(show_header=True)
        .cell_height(models.TableCellHeight.SM)
        .align(models.FieldTextAlignment.AUTO)
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
        .with_transformation(_organize(queries, columns, drop))
    )
    for column in columns:
        panel.override_by_name(column.title, _cell(column))
    targets = _targets(
        [Query(expr) for expr in queries.values()], instant=True, as_table=True, letters=tuple(queries)
    )
    return _apply(options, panel.no_value(NO_VALUE).build(), targets)


def _organize(
    queries: Mapping[str, str], columns: Sequence[Column], drop: Sequence[str]
) -> model.DataTransformerConfig:
    """Rename and order the columns, and exclude all other fields.

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
    """Overrides for one column of a table."""
    found: dict[str, object] = {"unit": column.unit}
    if column.decimals is not None:
        found["decimals"] = column.decimals
    if column.thresholds is not None:
        found["thresholds"] = column.thresholds.build()
        found["color"] = {"mode": "thresholds"}
        found["mappings"] = palette.null_mapping(NO_VALUE)
        if column.unit == "percentunit":
            found |= {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "min": 0, "max": 1}
        else:
            found["custom.cellOptions"] = {"type": "color-text"}
    if column.mappings:
        found |= {"mappings": list(column.mappings), "custom.cellOptions": {"type": "color-text"}}
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


def _apply(options: PanelOptions, panel: model.Panel, targets: Sequence[prometheus.Dataquery]) -> model.Panel:
    panel.title = options.title
    panel.description = options.description
    panel.datasource = DATASOURCE
    panel.grid_pos = model.GridPos(w=options.width, h=options.height)
    panel.targets = list(targets)
    if options.max_data_points is not None:
        panel.max_data_points = float(options.max_data_points)
        panel.interval = "1m"
    source = panel.field_config = panel.field_config or model.FieldConfigSource()
    defaults = source.defaults
    defaults.unit = options.unit
    defaults.decimals = options.decimals
    defaults.thresholds = options.thresholds.build()
    defaults.color = defaults.color or model.FieldColor(
        mode=model.FieldColorModeId.PALETTE_CLASSIC
        if panel.type_val == "timeseries"
        else model.FieldColorModeId.THRESHOLDS
    )
    if options.no_value:
        defaults.no_value = options.no_value
    if options.links:
        defaults.links = [*options.links]
    return panel
