"""The alerts and recording rules: each is valid, tested, documented, and uses only metrics that exist.

An alert has a test in which it fires and one in which it does not. A recording rule has a test with a value that a
person can compute. Where a step is missing, the message names the file to change and what to add.
"""

import difflib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from exporter.metrics.catalog import FAMILIES, by_exposed_name
from exporter.metrics.exposition.labels import IDENTITY_LABELS

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "alerts").glob("*.yaml"))
CASES = sorted((ROOT / "tests/alerts/cases").glob("*.yaml"))
RECORDING_CASES = sorted((ROOT / "tests/alerts/recording").glob("*.yaml"))
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
ALERTS_PAGE = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")
RECORDING_PAGE = (ROOT / "docs/recording-rules.md").read_text(encoding="utf-8")

RUNBOOK_URL = "https://github.com/modelarts-exporter/modelarts-exporter/blob/main/docs/runbooks/{alert}.md"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Tuning"]
ANNOTATIONS = {
    "summary": "one sentence that names what is affected",
    "description": "what has happened, with the values of the query",
    "runbook_url": RUNBOOK_URL.format(alert="<alert>"),
    "threshold": "the number that users may change, or the `for` of the rule, as a quoted string",
}
"""The annotations that each alert has, and what each contains."""
SCRAPE_LABELS = {"job", "instance", "pod"}
"""Labels a scrape adds; `pod` stands for those of Kubernetes."""
EXTERNAL: dict[str, set[str]] = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity", "project", "job_id", "job_name", "user", "pool_id"},
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
}
"""Metrics with their labels that Prometheus or prometheus-client makes, and that queries may use."""
_METRIC = re.compile(r"\bmodelarts_[a-z_]+")
_TEMPLATE_QUERY = re.compile(r'query \(printf "((?:[^"\\]|\\.)*)"')
_TEMPLATE_MATCHERS = re.compile(r'\$of := printf "([^"]*)"')
_RECORDED_NAME = re.compile(r"modelarts_(?:training|pool):[a-z_]+:[a-z0-9]+")
_PROMQL_BLOCK = re.compile(r"```promql\n(.*?)```", re.DOTALL)

Document = dict[str, Any]


def _load(path: Path) -> Document:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _rules(kind: str) -> Iterator[tuple[str, str, Document]]:
    """Every rule of a kind (`alert` or `record`): its name, its file, and the rule."""
    for path in RULES:
        for group in _load(path)["groups"]:
            for rule in group["rules"]:
                if kind in rule:
                    yield rule[kind], _relative(path), rule


ALERTS: dict[str, Document] = {name: rule for name, _, rule in _rules("alert")}
RECORDED: dict[str, Document] = {name: rule for name, _, rule in _rules("record")}
FILE_OF: dict[str, str] = {name: file for kind in ("alert", "record") for name, file, _ in _rules(kind)}
"""The file in which a rule is defined."""


def _annotation(alert: str, key: str) -> str:
    """Return an annotation. Fails with the file and what to add when the alert has no such annotation."""
    annotations = ALERTS[alert].get("annotations", {})
    assert key in annotations, f"{FILE_OF[alert]}: add the annotation `{key}` to {alert}: {ANNOTATIONS[key]}"
    text = annotations[key]
    assert isinstance(text, str), f"{FILE_OF[alert]}: put quotes around the annotation `{key}` of {alert}"
    return text


def _severity(alert: str) -> str:
    """Return the severity. Fails with the file and what to add when the alert has none."""
    severity = ALERTS[alert].get("labels", {}).get("severity")
    assert severity in {"critical", "warning", "info"}, (
        f"{FILE_OF[alert]}: add the label `severity` to {alert}: critical, warning or info"
    )
    return str(severity)


def _annotation_queries(rule: Document) -> Iterator[str]:
    """Queries in the templates of an alert, with the verbs of printf replaced as in the rule."""
    for text in rule.get("annotations", {}).values():
        matchers = ",".join(_TEMPLATE_MATCHERS.findall(text)).replace("%q", '"x"')
        for quoted in _TEMPLATE_QUERY.findall(text):
            yield quoted.replace('\\"', '"').replace("%q", '"x"').replace("%s", matchers)


def _runbook_queries(path: Path) -> list[str]:
    return _PROMQL_BLOCK.findall(path.read_text(encoding="utf-8"))


def _children(expression: promql.Expr) -> list[promql.Expr]:
    """The direct children of a node of a parsed query."""
    match expression:
        case promql.BinaryExpr():
            return [expression.lhs, expression.rhs]
        case promql.AggregateExpr():
            return [expression.expr, *([expression.param] if expression.param is not None else [])]
        case promql.Call():
            return list(expression.args)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return [expression.expr]
        case promql.MatrixSelector():
            return [expression.vector_selector]
        case _:
            return []


def _nodes(expression: promql.Expr) -> Iterator[promql.Expr]:
    """Every node of a parsed query."""
    yield expression
    for child in _children(expression):
        yield from _nodes(child)


def _labels_of(expression: promql.Expr) -> set[str]:
    """Labels that the result of a query can have; a number has none."""
    match expression:
        case promql.AggregateExpr() if str(expression.op) not in {"topk", "bottomk"}:
            return set(expression.modifier.labels if expression.modifier is not None else [])
        case promql.BinaryExpr():
            return _labels_of_both(expression)
        case promql.VectorSelector():
            assert expression.name is not None
            return _declared_labels(expression.name)
        case _:
            return {label for child in _children(expression) for label in _labels_of(child)}


def _labels_of_both(expression: promql.BinaryExpr) -> set[str]:
    """Labels that the result of a binary operation can have: those of both sides, or those that `on` keeps."""
    labels = _labels_of(expression.lhs) | _labels_of(expression.rhs)
    modifier = expression.modifier
    if str(expression.op) in {"and", "or", "unless"} or modifier is None or modifier.matching is None:
        return labels
    if "OneToOne" in str(modifier.card):
        return labels & set(modifier.matching.labels)
    return _labels_of(expression.lhs) | set(modifier.group_labels or [])


def _declared_labels(metric: str) -> set[str]:
    """Labels a metric can have. Fails with the nearest name when no metric or recording rule has that name."""
    if metric in RECORDED:
        return _labels_of(promql.parse(RECORDED[metric]["expr"]))
    if metric in EXTERNAL:
        return EXTERNAL[metric] | SCRAPE_LABELS
    try:
        family = by_exposed_name(metric)
    except KeyError:
        pytest.fail(_no_such_metric(metric))
    bucket = {"le"} if metric.endswith("_bucket") else set()
    return {label.name for label in (*IDENTITY_LABELS[family.subject], *family.labels)} | SCRAPE_LABELS | bucket


def _no_such_metric(metric: str) -> str:
    known = [*(name for family in FAMILIES for name in family.sample_names), *RECORDED, *EXTERNAL]
    near = difflib.get_close_matches(metric, known, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return (
        f"no metric and no recording rule is named {metric}.{guess} Correct the name, or declare the metric in "
        f"exporter/metrics/ or the recording rule in alerts/recording.yaml"
    )


def _check_query(query: str, *, file: str) -> None:
    """Fail on a query that does not parse, or uses a metric, a label or a label value that does not exist."""
    try:
        parsed = promql.parse(query)
    except ValueError as error:
        pytest.fail(f"{file}: this is not a PromQL query: {error}\n{query}")
    selectors = [node for node in _nodes(parsed) if isinstance(node, promql.VectorSelector)]
    assert selectors, f"{file}: this query uses no metric:\n{query}"
    labels: set[str] = set()
    for selector in selectors:
        assert selector.name is not None, f"{file}: a selector has no metric name:\n{query}"
        try:
            declared = _declared_labels(selector.name)
        except pytest.fail.Exception as error:
            pytest.fail(f"{file}: {error}")
        labels |= declared
        unknown = sorted({matcher.name for matcher in selector.matchers.matchers} - declared)
        assert not unknown, f"{file}: {selector.name} has no label {unknown}; it has {sorted(declared)}"
        if selector.name not in EXTERNAL and selector.name not in RECORDED:
            _check_values(selector, file=file)
    for node in _nodes(parsed):
        for label in _grouping(node):
            assert label in labels, f"{file}: no metric of the query has the label {label}:\n{query}"


def _check_values(selector: promql.VectorSelector, *, file: str) -> None:
    """Fail on a matcher with a value that its label cannot have."""
    assert selector.name is not None
    vocabulary = {label.name: label.values for label in by_exposed_name(selector.name).labels if label.values}
    for matcher in selector.matchers.matchers:
        if matcher.name in vocabulary:
            known = vocabulary[matcher.name]
            unknown = sorted(set(matcher.value.split("|")) - {"", *known})  # Prometheus: an empty label is absent
            assert not unknown, f"{file}: {selector.name}: {matcher.name} is never {unknown}, but one of {known}"


def _grouping(node: promql.Expr) -> list[str]:
    """Labels in `by`, `without`, `on` or `group_left` of one node."""
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        return list(node.modifier.labels)
    if isinstance(node, promql.BinaryExpr) and node.modifier is not None:
        matching = node.modifier.matching
        return [*(matching.labels if matching is not None else []), *(node.modifier.group_labels or [])]
    return []


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Run promtool and return its output. Without promtool the test is skipped; in CI it fails."""
    program = shutil.which("promtool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is not installed, and CI must have it")
        pytest.skip("promtool is not installed: THE ALERTS ARE NOT TESTED")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def _name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", RULES, ids=_name)
def test_rules_are_valid(path: Path, promtool: Callable[..., str]) -> None:
    """`promtool check rules` accepts each rule file."""
    assert "SUCCESS" in promtool("check", "rules", path)


@pytest.mark.parametrize("path", [*CASES, *RECORDING_CASES], ids=_name)
def test_promtool_cases_pass(path: Path, promtool: Callable[..., str]) -> None:
    """`promtool test rules` passes for each case file."""
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_firing_and_silent_case(alert: str) -> None:
    """Each alert has a case in which it fires, with all labels and annotations, and one in which it does not."""
    path = ROOT / f"tests/alerts/cases/{alert}.yaml"
    file = _relative(path)
    assert path.exists(), f"{file} is missing: write one case named 'fires: …' and one named 'silent: …'"
    fires, silent = 0, 0
    for case in _load(path)["tests"]:
        kind, _, title = case["name"].partition(": ")
        assert title, f"{file}: rename the case {case['name']!r} to 'fires: …' or 'silent: …'"
        checks = [check for check in case["alert_rule_test"] if check["alertname"] == alert]
        assert checks, f"{file}: {case['name']!r} has no alert_rule_test for {alert}"
        expected = [firing for check in checks for firing in check["exp_alerts"]]
        for firing in expected:
            missing = sorted(set(ALERTS[alert].get("annotations", {})) ^ set(firing["exp_annotations"]))
            assert not missing, (
                f"{file}: exp_annotations of {case['name']!r} differ from those of the rule: {missing}"
            )
            assert firing["exp_labels"]["severity"] == _severity(alert)
        if kind == "fires":
            assert expected or case.get("promql_expr_test"), f"{file}: {case['name']!r} never expects the alert"
            fires += 1
        else:
            assert kind == "silent", f"{file}: rename the case {case['name']!r} to 'fires: …' or 'silent: …'"
            assert not expected, f"{file}: {case['name']!r} expects the alert; rename it to 'fires: …'"
            silent += 1
    assert fires, f"{file}: add a case named 'fires: …'"
    assert silent, f"{file}: add a case named 'silent: …'"


@pytest.mark.parametrize("record", RECORDED)
def test_recording_rule_has_case(record: str) -> None:
    """Each recording rule has a case that expects values of it."""
    expected = any(
        re.search(rf"{record}(?![\w:])", check["expr"]) and check["exp_samples"]
        for path in RECORDING_CASES
        for case in _load(path)["tests"]
        for check in case["promql_expr_test"]
    )
    assert expected, f"tests/alerts/recording/: add a case that expects samples of {record}"


@pytest.mark.parametrize("path", RECORDING_CASES, ids=_name)
def test_recording_cases_cover_two_exporters_and_a_gap(path: Path) -> None:
    """Each file of cases has one with two exporters of one project, and one with a gap in the scrapes."""
    cases = _load(path)["tests"]
    assert any(
        {re.findall(r'instance="([^"]+)"', series["series"])[0] for series in case["input_series"]} >= {"a", "b"}
        for case in cases
    ), f'{_relative(path)}: add a case with the series of instance="a" and instance="b"'
    assert any("gap" in case["name"] for case in cases), f"{_relative(path)}: add a case named 'gap: …'"


@pytest.mark.parametrize("record", RECORDED)
def test_recording_rule_is_documented(record: str) -> None:
    """A recording rule is named level:metric:operation, and its row in docs/recording-rules.md has its labels."""
    file = FILE_OF[record]
    assert _RECORDED_NAME.fullmatch(record), f"{file}: rename {record} to level:metric:operation"
    assert "labels" not in RECORDED[record], f"{file}: remove `labels` from {record}; these tests do not know them"
    row = re.search(rf"^\| `{record}` \| ([^|]*) \| [^|]+ \|$", RECORDING_PAGE, re.MULTILINE)
    assert row, f"docs/recording-rules.md: add the row | `{record}` | labels | meaning |"
    documented = set(re.findall(r"`(\w+)`", row[1]))
    assert documented == _declared_labels(record), f"docs/recording-rules.md: correct the labels of {record}"


@pytest.mark.parametrize("record", RECORDED)
def test_recording_rule_uses_what_exists(record: str) -> None:
    """A recording rule parses, and uses metrics and labels of the catalog or of other recording rules."""
    _check_query(RECORDED[record]["expr"], file=f"{FILE_OF[record]}, {record}")


def test_recording_rules_are_in_order() -> None:
    """A rule follows those whose series it uses, so that all series of one evaluation belong together."""
    ready: set[str] = set()
    for record, rule in RECORDED.items():
        later = sorted(set(_RECORDED_NAME.findall(rule["expr"])) - ready)
        assert not later, f"{FILE_OF[record]}: move {record} below {later}, which it uses"
        ready.add(record)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_needs_no_recording_rule(alert: str) -> None:
    """All alerts work without the recording rules."""
    used = _RECORDED_NAME.findall(str(ALERTS[alert]))
    assert not used, f"{FILE_OF[alert]}: {alert} uses the recording rule {used}; write its expression out"


def test_no_file_or_row_is_left_over() -> None:
    """Every case file, runbook and row of the documents belongs to a rule."""
    files = [path for path in (*CASES, *RUNBOOKS) if path.stem not in ALERTS]
    assert not files, f"delete {[_relative(path) for path in files]}: no rule in alerts/ has this name"
    rows = sorted(set(re.findall(r"^\| \[(\w+)\]", ALERTS_PAGE, re.MULTILINE)) - set(ALERTS))
    assert not rows, f"docs/alerts.md: delete the rows of {rows}: no rule in alerts/ has this name"
    names = sorted(set(_RECORDED_NAME.findall(RECORDING_PAGE)) - set(RECORDED))
    assert not names, f"docs/recording-rules.md: delete {names}: no recording rule in alerts/ has this name"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_severity_texts_and_runbook(alert: str) -> None:
    """Each alert has a severity and the four annotations, and no others."""
    rule, file = ALERTS[alert], FILE_OF[alert]
    _severity(alert)
    assert rule["labels"].keys() == {"severity"}, f"{file}: {alert} may have the label `severity` only"
    for key in ANNOTATIONS:
        _annotation(alert, key)
    more = sorted(rule["annotations"].keys() - ANNOTATIONS)
    assert not more, f"{file}: remove the annotations {more} of {alert}, or add them to ANNOTATIONS in this file"
    url = RUNBOOK_URL.format(alert=alert)
    assert rule["annotations"]["runbook_url"] == url, f"{file}: set runbook_url of {alert} to {url}"


@pytest.mark.parametrize("alert", [alert for alert in ALERTS if alert.startswith("ModelArtsTrainingJob")])
def test_job_alert_names_job_user_and_pool(alert: str) -> None:
    """The texts of an alert about jobs name job, user and pool; an alert about one job has them as labels too."""
    texts = _annotation(alert, "summary") + _annotation(alert, "description")
    for word in ("job_name", "job_id", "ser", "pool_id"):
        assert word in texts, f"{FILE_OF[alert]}: summary and description of {alert} lack {word}"
    if not alert.startswith("ModelArtsTrainingJobs"):
        joined = "job_name, user, pool_id" in ALERTS[alert]["expr"]
        assert joined, f"{FILE_OF[alert]}: join job_name, user and pool_id in the expression of {alert}"


@pytest.mark.parametrize("alert", ALERTS)
def test_threshold_is_one_token(alert: str) -> None:
    """The `threshold` annotation is a number that is in the expression, or the `for` of the rule."""
    rule, file, token = ALERTS[alert], FILE_OF[alert], _annotation(alert, "threshold")
    in_expression = re.search(rf"(?<![\w.]){re.escape(token)}s?(?![\w.])", rule["expr"])
    assert in_expression or token == rule.get("for"), (
        f"{file}: the threshold {token} of {alert} is neither in its expression nor its `for`"
    )
    counted = re.search(rf"topk( by \([^)]*\))? \({re.escape(token)},", rule["expr"])
    assert not counted, f"{file}: the threshold {token} of {alert} is also the number of topk; write {token}.0 there"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_documented(alert: str) -> None:
    """The row of the alert in docs/alerts.md has the severity, threshold and `for` of the rule."""
    rule = ALERTS[alert]
    row = re.search(rf"^\| \[{alert}\]\(runbooks/{alert}\.md\) \|(.*)\|$", ALERTS_PAGE, re.MULTILINE)
    wanted = f"| [{alert}](runbooks/{alert}.md) | severity | fires when | threshold | for |"
    assert row, f"docs/alerts.md: add the row {wanted}"
    cells = [cell.strip() for cell in row[1].split("|")]
    assert len(cells) == 4, f"docs/alerts.md: the row of {alert} must have the cells {wanted}"
    severity, _, threshold, waits = cells
    assert severity == _severity(alert), f"docs/alerts.md: correct the severity of {alert}"
    assert threshold.split(" ")[0] == _annotation(alert, "threshold"), (
        f"docs/alerts.md: correct the threshold of {alert}"
    )
    assert waits == rule.get("for", ""), f"docs/alerts.md: correct the `for` of {alert}"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_runbook(alert: str) -> None:
    """The runbook of each alert has all sections, a query for the diagnosis, and the threshold."""
    path = ROOT / f"docs/runbooks/{alert}.md"
    file = _relative(path)
    assert path.exists(), f"{file} is missing: write it with the headings {SECTIONS}"
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {alert}\n"), f"{file}: begin with the heading '# {alert}'"
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == SECTIONS, f"{file}: the headings must be {SECTIONS}"
    assert _runbook_queries(path), f"{file}: add a ```promql block below Diagnosis"
    threshold = _annotation(alert, "threshold")
    assert threshold in text, f"{file}: name the threshold {threshold} below Tuning"


@pytest.mark.parametrize("path", [*RUNBOOKS, ROOT / "docs/alerts.md", ROOT / "docs/recording-rules.md"], ids=_name)
def test_links_resolve(path: Path) -> None:
    """Every relative link of the pages leads to a file that exists, and to a heading of it."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        other = path.parent / file
        assert other.exists(), f"{_relative(path)}: the link {target} leads to no file"
        if heading:
            titles = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert heading in known, f"{_relative(path)}: the link {target} leads to no heading"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_uses_what_exists(alert: str) -> None:
    """The expression of an alert and the queries in its texts parse, and use metrics and labels of the catalog."""
    file = f"{FILE_OF[alert]}, {alert}"
    queries = [*_annotation_queries(ALERTS[alert])]
    for query in (ALERTS[alert]["expr"], *queries):
        _check_query(query, file=file)
    named = set(_METRIC.findall(str(ALERTS[alert].get("annotations", {}))))
    queried = {name for query in queries for name in _METRIC.findall(query)}
    unchecked = sorted(named - queried)
    assert not unchecked, f'{file}: {unchecked} is in a text, but not in a query of the form (printf "…")'


@pytest.mark.parametrize("path", [*RUNBOOKS, ROOT / "docs/recording-rules.md"], ids=_name)
def test_page_uses_what_exists(path: Path) -> None:
    """Every query of a page parses, and uses metrics, labels and label values of the catalog."""
    for query in _runbook_queries(path):
        _check_query(query, file=_relative(path))


@pytest.mark.parametrize("path", [*CASES, *RECORDING_CASES], ids=_name)
def test_cases_feed_what_exists(path: Path) -> None:
    """Every input series of a case is one that the exporter can export: its name, its labels and their values."""
    for case in _load(path)["tests"]:
        for series in case["input_series"]:
            _check_query(series["series"], file=_relative(path))


@pytest.mark.parametrize(
    "query, message",
    [
        pytest.param(
            "modelarts_training_job_state", r"named modelarts_training_job_state\. Did you mean", id="metric"
        ),
        pytest.param('modelarts_training_job_status{state="failed"}', "has no label", id="label"),
        pytest.param('modelarts_training_job_status{status="broken"}', "status is never", id="label-value"),
        pytest.param("sum by (owner) (modelarts_training_job_info)", "the label owner", id="grouping-label"),
        pytest.param("modelarts_training:accelerators_held:max", "no recording rule is named", id="recorded-name"),
        pytest.param(
            "sum by (job_id) (modelarts_training:accelerators_held:sum)", "the label job_id", id="recorded-label"
        ),
        pytest.param(
            "modelarts_up * on (project) group_left (owner) modelarts_project_info",
            "the label owner",
            id="joined-label",
        ),
        pytest.param("sum(", "not a PromQL query", id="syntax"),
    ],
)
def test_check_finds_mistakes(query: str, message: str) -> None:
    """The check used above finds a misspelt metric, label or value, and names the file and the mistake."""
    with pytest.raises((AssertionError, pytest.fail.Exception), match=f"alerts/x.yaml: .*{message}"):
        _check_query(query, file="alerts/x.yaml")
