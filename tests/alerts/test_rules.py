"""The rules: each is valid, proven, documented, and names only what can be scraped or is recorded.

An alert is proven to fire and to stay silent, a recording rule to give a figure that a person can work out.
"""

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

from exporter.metrics.catalog import by_exposed_name
from exporter.metrics.exposition.labels import IDENTITY_LABELS

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "alerts").glob("*.yaml"))
CASES = sorted((ROOT / "tests/alerts/cases").glob("*.yaml"))
FIGURES = sorted((ROOT / "tests/alerts/recording").glob("*.yaml"))
BOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
INDEX = (ROOT / "docs/alerts.md").read_text()
RECORDING_INDEX = (ROOT / "docs/recording-rules.md").read_text()

RUNBOOK = "https://github.com/modelarts-exporter/modelarts-exporter/blob/main/docs/runbooks/{alert}.md"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Tuning"]
SCRAPE_LABELS = {"job", "instance", "pod"}
"""Labels a scrape adds; `pod` stands for those of Kubernetes."""
FOREIGN: dict[str, set[str]] = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity", "project", "job_id", "job_name", "user", "pool_id"},
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
}
"""What queries may use beside our catalogue, made by Prometheus or by prometheus-client, with its labels."""
_METRIC = re.compile(r"\bmodelarts_[a-z_]+")
_TEMPLATE_QUERY = re.compile(r'query \(printf "((?:[^"\\]|\\.)*)"')
_TEMPLATE_MATCHERS = re.compile(r'\$of := printf "([^"]*)"')
_RECORDED_NAME = re.compile(r"modelarts_(?:training|pool):[a-z_]+:[a-z0-9]+")
_PROMQL_BLOCK = re.compile(r"```promql\n(.*?)```", re.DOTALL)

Document = dict[str, Any]


def _load(path: Path) -> Document:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


ALERTS: dict[str, Document] = {
    rule["alert"]: rule
    for path in RULES
    for group in _load(path)["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


RECORDED: dict[str, Document] = {
    rule["record"]: rule
    for path in RULES
    for group in _load(path)["groups"]
    for rule in group["rules"]
    if "record" in rule
}


def _annotation_queries(rule: Document) -> Iterator[str]:
    """Queries inside an alert's templates, with the verbs of printf filled in the way the rule does."""
    for text in rule["annotations"].values():
        matchers = ",".join(_TEMPLATE_MATCHERS.findall(text)).replace("%q", '"x"')
        for quoted in _TEMPLATE_QUERY.findall(text):
            yield quoted.replace('\\"', '"').replace("%q", '"x"').replace("%s", matchers)


def _runbook_queries(path: Path) -> list[str]:
    return _PROMQL_BLOCK.findall(path.read_text())


def _children(expression: promql.Expr) -> list[promql.Expr]:
    """The nodes right below one of a parsed query."""
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


def _parts(expression: promql.Expr) -> Iterator[promql.Expr]:
    """Every node of a parsed query."""
    yield expression
    for child in _children(expression):
        yield from _parts(child)


def _labels_of(expression: promql.Expr) -> set[str]:
    """Labels the result of a query can have; a number has none."""
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
    """Labels the result of a binary operation can have: those of both sides, or what `on` leaves of them."""
    labels = _labels_of(expression.lhs) | _labels_of(expression.rhs)
    modifier = expression.modifier
    if str(expression.op) in {"and", "or", "unless"} or modifier is None or modifier.matching is None:
        return labels
    if "OneToOne" in str(modifier.card):
        return labels & set(modifier.matching.labels)
    return _labels_of(expression.lhs) | set(modifier.group_labels or [])


def _declared_labels(metric: str) -> set[str]:
    """Labels a metric can have. Raises KeyError when nothing we scrape or record has that name."""
    if metric in RECORDED:
        return _labels_of(promql.parse(RECORDED[metric]["expr"]))
    if metric in FOREIGN:
        return FOREIGN[metric] | SCRAPE_LABELS
    family = by_exposed_name(metric)
    extra = {"le"} if metric.endswith("_bucket") else set()
    return {label.name for label in (*IDENTITY_LABELS[family.subject], *family.labels)} | SCRAPE_LABELS | extra


def _check_query(query: str) -> None:
    """Fail on a query that does not parse, or names a metric or a label value nothing exports."""
    selectors = [part for part in _parts(promql.parse(query)) if isinstance(part, promql.VectorSelector)]
    assert selectors or query.strip() == "", f"no metric in {query}"
    labels: set[str] = set()
    for selector in selectors:
        assert selector.name is not None, f"a selector without a metric name in {query}"
        declared = _declared_labels(selector.name)
        labels |= declared
        unknown = {matcher.name for matcher in selector.matchers.matchers} - declared
        assert not unknown, f"{selector.name} has no label {unknown}"
        if selector.name not in FOREIGN and selector.name not in RECORDED:
            _check_values(selector)
    for part in _parts(promql.parse(query)):
        for label in _grouping(part):
            assert label in labels, f"no metric of the query has the label {label}: {query}"


def _check_values(selector: promql.VectorSelector) -> None:
    """Fail on a matcher that asks for a word outside the vocabulary its label declares."""
    assert selector.name is not None
    vocabulary = {label.name: label.values for label in by_exposed_name(selector.name).labels if label.values}
    for matcher in selector.matchers.matchers:
        if matcher.name in vocabulary:
            words = set(matcher.value.split("|")) - {""}  # to Prometheus an empty label is an absent one
            assert words <= set(vocabulary[matcher.name]), f"{selector.name}{{{matcher.name}}} is never {words}"


def _grouping(part: promql.Expr) -> list[str]:
    """Labels named by `by`, `without`, `on` or `group_left` of one node."""
    if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
        return list(part.modifier.labels)
    if isinstance(part, promql.BinaryExpr) and part.modifier is not None:
        matching = part.modifier.matching
        return [*(matching.labels if matching is not None else []), *(part.modifier.group_labels or [])]
    return []


@pytest.fixture
def promtool() -> Callable[..., str]:
    """Run promtool and return what it prints; it may be missing on a laptop, never in CI."""
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
    """Prometheus takes each rule file without a complaint."""
    assert "SUCCESS" in promtool("check", "rules", path)


@pytest.mark.parametrize("path", [*CASES, *FIGURES], ids=_name)
def test_stories_come_true(path: Path, promtool: Callable[..., str]) -> None:
    """Each story about an alert or a figure ends as its case file tells it."""
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_proven_both_ways(alert: str) -> None:
    """Each alert has a story in which it fires, its labels and annotations told in full, and one in which not."""
    document = _load(ROOT / f"tests/alerts/cases/{alert}.yaml")
    fires, silent = 0, 0
    for story in document["tests"]:
        kind, _, title = story["name"].partition(": ")
        assert title, f"{story['name']}: name it 'fires: …' or 'silent: …'"
        checks = [check for check in story["alert_rule_test"] if check["alertname"] == alert]
        expected = [page for check in checks for page in check["exp_alerts"]]
        for page in expected:
            assert set(page["exp_annotations"]) == set(ALERTS[alert]["annotations"])
            assert page["exp_labels"]["severity"] == ALERTS[alert]["labels"]["severity"]
        assert checks, f"{story['name']}: asks nothing about {alert}"
        if kind == "fires":
            assert expected or story.get("promql_expr_test"), f"{story['name']}: never expects a page"
            fires += 1
        else:
            assert kind == "silent"
            assert not expected, f"{story['name']}: expects a page"
            silent += 1
    assert fires, f"{alert} has no story in which it fires"
    assert silent, f"{alert} has no story in which it stays silent"


@pytest.mark.parametrize("record", RECORDED)
def test_figure_is_proven(record: str) -> None:
    """Each recording rule has a story in which it gives figures, and says all of their labels."""
    found = 0
    for path in FIGURES:
        for story in _load(path)["tests"]:
            for check in story["promql_expr_test"]:
                if re.search(rf"{record}(?![\w:])", check["expr"]) and check["exp_samples"]:
                    found += 1
    assert found, f"{record} is never expected to have a value"


def test_figures_are_proven_with_two_exporters_and_a_gap() -> None:
    """Each file of figures has a story with two exporters of one project, and those of counters one with a gap."""
    for path in FIGURES:
        stories = _load(path)["tests"]
        assert any(
            {re.findall(r'instance="([^"]+)"', series["series"])[0] for series in story["input_series"]} >= {"a", "b"}
            for story in stories
        ), f"{path.name}: no two exporters"
        assert any("gap" in story["name"] for story in stories), f"{path.name}: no gap"


@pytest.mark.parametrize("record", RECORDED)
def test_figure_is_documented(record: str) -> None:
    """A recording rule is named level:metric:operation, and its row in docs/recording-rules.md has its labels."""
    assert _RECORDED_NAME.fullmatch(record)
    assert "labels" not in RECORDED[record], "labels of its own are not among those the rest of this file knows"
    row = re.search(rf"^\| `{record}` \| ([^|]*) \| [^|]+ \|$", RECORDING_INDEX, re.MULTILINE)
    assert row, f"{record} has no row"
    assert set(re.findall(r"`(\w+)`", row[1])) == _declared_labels(record)


@pytest.mark.parametrize("record", RECORDED)
def test_figure_is_made_of_what_exists(record: str) -> None:
    """A recording rule parses, and names metrics and labels of the catalogue or of other recording rules."""
    _check_query(RECORDED[record]["expr"])


def test_figures_are_made_in_order() -> None:
    """A rule comes after those whose figures it uses, so that all figures of one evaluation belong together."""
    ready: set[str] = set()
    for record, rule in RECORDED.items():
        assert set(_RECORDED_NAME.findall(rule["expr"])) <= ready, record
        ready.add(record)


def test_no_alert_rests_on_a_figure() -> None:
    """Whoever leaves the recording rules out loses no alert."""
    for rule in ALERTS.values():
        assert not _RECORDED_NAME.search(str(rule))


def test_no_leftovers() -> None:
    """Every case file and runbook page belongs to an alert, and the indexes have exactly the rules."""
    assert {path.stem for path in CASES} == set(ALERTS)
    assert {path.stem for path in BOOKS} == set(ALERTS)
    assert set(re.findall(r"^\| \[(\w+)\]", INDEX, re.MULTILINE)) == set(ALERTS)
    assert set(_RECORDED_NAME.findall(RECORDING_INDEX)) == set(RECORDED)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_says_what_a_person_needs(alert: str) -> None:
    """Each alert has a severity, a summary, a description, a runbook and the number to turn; no others creep in."""
    rule = ALERTS[alert]
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url", "threshold"}
    assert annotations["runbook_url"] == RUNBOOK.format(alert=alert)


@pytest.mark.parametrize("alert", [alert for alert in ALERTS if alert.startswith("ModelArtsTrainingJob")])
def test_job_alert_names_job_and_user(alert: str) -> None:
    """What is about jobs says in its texts whose they are, and the single job's alert carries it as labels too."""
    rule = ALERTS[alert]
    texts = rule["annotations"]["summary"] + rule["annotations"]["description"]
    assert "job_name" in texts
    assert "job_id" in texts
    assert "ser" in texts
    assert "pool_id" in texts
    if not alert.startswith("ModelArtsTrainingJobs"):
        assert "job_name, user, pool_id" in rule["expr"]


@pytest.mark.parametrize("alert", ALERTS)
def test_threshold_is_one_token(alert: str) -> None:
    """The `threshold` annotation is a number that stands in the expression, or is the rule's `for`."""
    rule = ALERTS[alert]
    token = rule["annotations"]["threshold"]
    assert isinstance(token, str)
    in_expression = re.search(rf"(?<![\w.]){re.escape(token)}s?(?![\w.])", rule["expr"])
    assert in_expression or token == rule.get("for"), f"{token} is neither in the expression nor the `for`"
    picked = re.search(rf"topk( by \([^)]*\))? \({re.escape(token)},", rule["expr"])
    assert not picked, f"{token} is also how many to pick"


@pytest.mark.parametrize("alert", ALERTS)
def test_index_tells_the_truth(alert: str) -> None:
    """The row of the alert in docs/alerts.md gives the severity, threshold and waiting time of the rule."""
    rule = ALERTS[alert]
    row = re.search(rf"^\| \[{alert}\]\(runbooks/{alert}\.md\) \|(.*)\|$", INDEX, re.MULTILINE)
    assert row, f"{alert} has no row"
    severity, _, threshold, waits = (cell.strip() for cell in row[1].split("|"))
    assert severity == rule["labels"]["severity"]
    assert threshold.split(" ")[0] == rule["annotations"]["threshold"]
    assert waits == rule.get("for", "")


@pytest.mark.parametrize("path", BOOKS, ids=_name)
def test_runbook_has_every_section(path: Path) -> None:
    """A page says what the alert means, what it does harm to, how to look closer, what to do, and how to tune it."""
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert _runbook_queries(path), "no query to diagnose with"
    assert ALERTS[path.stem]["annotations"]["threshold"] in text


@pytest.mark.parametrize("path", [*BOOKS, ROOT / "docs/alerts.md", ROOT / "docs/recording-rules.md"], ids=_name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of the pages has a file, and its heading where it names one, at the other end."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        file, _, heading = target.partition("#")
        other = path.parent / file
        assert other.exists(), f"{target} does not exist"
        if heading:
            titles = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("alert", ALERTS)
def test_rule_asks_for_what_exists(alert: str) -> None:
    """An alert's expression and the queries in its texts parse, and name metrics and labels of the catalogue."""
    _check_query(ALERTS[alert]["expr"])
    for query in _annotation_queries(ALERTS[alert]):
        _check_query(query)
    named = set(_METRIC.findall(str(ALERTS[alert]["annotations"])))
    queried = {name for query in _annotation_queries(ALERTS[alert]) for name in _METRIC.findall(query)}
    assert named <= queried, "a query in a text was not recognised, so it was not checked"


@pytest.mark.parametrize("path", [*BOOKS, ROOT / "docs/recording-rules.md"], ids=_name)
def test_runbook_asks_for_what_exists(path: Path) -> None:
    """Every query of a page parses, and names metrics, labels and label values of the catalogue."""
    for query in _runbook_queries(path):
        _check_query(query)


@pytest.mark.parametrize("path", [*CASES, *FIGURES], ids=_name)
def test_stories_feed_what_exists(path: Path) -> None:
    """Every series fed to a story is one the exporter can export: its name, its labels and their vocabulary."""
    for story in _load(path)["tests"]:
        for series in story["input_series"]:
            _check_query(series["series"])


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("modelarts_training_job_state", id="metric"),
        pytest.param('modelarts_training_job_status{state="failed"}', id="label"),
        pytest.param('modelarts_training_job_status{status="broken"}', id="label-value"),
        pytest.param("sum by (owner) (modelarts_training_job_info)", id="grouping-label"),
        pytest.param("modelarts_training:accelerators_held:max", id="recorded-name"),
        pytest.param("sum by (job_id) (modelarts_training:accelerators_held:sum)", id="recorded-label"),
        pytest.param("modelarts_up * on (project) group_left (owner) modelarts_project_info", id="joined-label"),
    ],
)
def test_check_sees_mistakes(query: str) -> None:
    """A misspelt metric, label or value does not pass the check that the tests above rest on."""
    with pytest.raises((AssertionError, KeyError)):
        _check_query(query)
