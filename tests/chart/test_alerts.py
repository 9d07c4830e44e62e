"""The rendered rules: those of alerts/ with the changes in the values, as a PrometheusRule or a rule file."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import chart
from tests.chart.chart import PATH, ROOT, Json
from tests.chart.summary import shipped
from tests.programs import found

ALERTS = {name: rule for name, (_, rule) in shipped().items() if "alert" in rule}
STACK = {"duration": "77m", "whole": 77, "ratio": 0.077}


def rendered(**values: Any) -> list[Json]:
    """Rule groups of the PrometheusRule; empty if none is rendered."""
    whole = chart.merged(chart.with_targets(), {"prometheusRule": {"enabled": True, **values}})
    return [group for rule in chart.render(whole).of("PrometheusRule") for group in rule["spec"]["groups"]]


def alerts(**values: Any) -> dict[str, Json]:
    """Rendered alerts by name."""
    return {rule["alert"]: rule for group in rendered(**values) for rule in group["rules"] if "alert" in rule}


def other(token: str) -> Any:
    """A different threshold of the same type."""
    if re.fullmatch(r"[0-9]+[smhd]", token):
        return STACK["duration"]
    return STACK["ratio"] if "." in token else STACK["whole"]


def with_threshold(rule: Json, new: str) -> Json:
    """Set a threshold as docs/alerts.md describes: by replacing its token everywhere in the rule."""
    token = re.compile(rf"(?<![\w.]){re.escape(rule['annotations']['threshold'])}(?=s?(?:\W|$))(?!\.\w)")
    texts: Json = {key: token.sub(new, rule[key]) for key in ("expr", "for") if key in rule}
    return {**rule, **texts, "annotations": {key: token.sub(new, text) for key, text in rule["annotations"].items()}}


@pytest.fixture(scope="module")
def promtool() -> Callable[..., str]:
    """Runs promtool and returns its output. Skips without promtool, except in CI."""
    program = found("promtool")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def written(groups: list[Json], folder: Path) -> Path:
    """Write a rule file as the Prometheus Operator does from a PrometheusRule."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    return path


def test_untouched_values_change_nothing() -> None:
    """By default the PrometheusRule contains the groups and rules of alerts/, complete and in their order."""
    sources = [
        group
        for path in sorted((ROOT / "alerts").glob("*.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    ]
    assert rendered() == sources


def test_config_map_holds_the_same_groups() -> None:
    """Without the operator, a ConfigMap has the same groups, changed by the same values, as a rule file."""
    values = {
        "interval": "20s",
        "ruleLabels": {"team": "ml"},
        "alerts": {"ModelArtsTrainingJobFailed": {"threshold": 900}},
        "groups": {"modelarts-exporter": {"enabled": False}},
        "namespace": "prometheus",
    }
    rule = {**values, "configMap": {"enabled": True, "labels": {"rules": "yes"}}}
    made = chart.render(chart.merged(chart.with_targets(), {"prometheusRule": rule}))
    assert list(made.of("PrometheusRule")) == []
    (found,) = [each for each in made.of("ConfigMap") if "config.yaml" not in each["data"]]
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("modelarts-exporter-rules", "prometheus")
    assert found["metadata"]["labels"]["rules"] == "yes"
    assert {name: yaml.safe_load(text) for name, text in found["data"].items()} == {
        "modelarts-exporter.rules.yaml": {"groups": rendered(**values)}
    }


@pytest.fixture(scope="module")
def retuned() -> dict[str, Json]:
    """Values that give every alert another threshold."""
    return alerts(alerts={name: {"threshold": other(r["annotations"]["threshold"])} for name, r in ALERTS.items()})


@pytest.mark.parametrize("alert", ALERTS)
def test_threshold_is_set_throughout(alert: str, retuned: dict[str, Json]) -> None:
    """A threshold replaces its token in the expression, the windows, the `for` and the texts, and nothing else."""
    source = ALERTS[alert]
    new = str(other(source["annotations"]["threshold"]))
    assert retuned[alert] == with_threshold(source, new)
    assert retuned[alert]["annotations"]["threshold"] == new
    changed = retuned[alert]["expr"] + retuned[alert].get("for", "")
    assert changed != source["expr"] + source.get("for", "")


def test_prometheus_takes_other_thresholds(
    retuned: dict[str, Json], promtool: Callable[..., str], tmp_path: Path
) -> None:
    """Prometheus accepts the alerts when each has another threshold."""
    path = written([{"name": "retuned", "rules": list(retuned.values())}], tmp_path)
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", path)


def test_prometheus_takes_the_file_of_the_config_map(promtool: Callable[..., str], tmp_path: Path) -> None:
    """Prometheus accepts the rule file of the ConfigMap as it is mounted."""
    made = chart.rendered(PATH / "ci/plain-prometheus-values.yaml")
    ((name, text),) = [file for each in made.of("ConfigMap") for file in each["data"].items() if "rules" in file[0]]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert f"{len(shipped())} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("install", ["kube-prometheus-stack", "tuned-alerts", "demo", "costs"])
def test_prometheus_takes_what_is_rendered(install: str, promtool: Callable[..., str], tmp_path: Path) -> None:
    """Prometheus accepts the rules of every supported way to install."""
    rule = chart.rendered(PATH / f"ci/{install}-values.yaml").one("PrometheusRule")
    assert "SUCCESS" in promtool("check", "rules", written(rule["spec"]["groups"], tmp_path))


def test_tuned_alert_fires_by_its_new_threshold(promtool: Callable[..., str], tmp_path: Path) -> None:
    """An alert about a queued job fires after the time in the values, with their severity and labels."""
    own = {"threshold": 600, "for": "2m", "severity": "page", "labels": {"route": "night"}}
    groups = rendered(ruleLabels={"team": "ml"}, alerts={"ModelArtsTrainingJobQueuedTooLong": own})
    labels = {"project": "vision", "job_id": "j1"}
    labelled = "{" + ",".join(f'{key}="{text}"' for key, text in labels.items())
    # Submitted at 0 s: more than 600 s ago from the evaluation at 11m on, and for 2m at that of 13m.
    story = {
        "rule_files": [str(written(groups, tmp_path))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f"modelarts_training_job_waiting_since_timestamp_seconds{labelled}}}",
                        "values": "0x20",
                    },
                    {"series": f'modelarts_training_job_status{labelled},status="queued"}}', "values": "1x20"},
                    {
                        "series": f'modelarts_training_job_info{labelled},job_name="bert",user="ada",pool_id="p"}}',
                        "values": "1x20",
                    },
                ],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="{state}"}})',
                        "eval_time": at,
                        "exp_samples": found,
                    }
                    for alert in ["ModelArtsTrainingJobQueuedTooLong"]
                    for at, state, found in [
                        ("12m", "pending", [{"labels": "{}", "value": 1}]),
                        ("12m", "firing", []),
                        ("13m", "firing", [{"labels": "{}", "value": 1}]),
                    ]
                ]
                + [
                    {
                        "expr": 'count(ALERTS{severity="page",team="ml",route="night",user="ada"})',
                        "eval_time": "13m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "story.yaml"
    path.write_text(yaml.safe_dump(story), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_single_alert_is_switched_off(alert: str) -> None:
    """Each alert can be disabled; the others are rendered."""
    assert alerts(alerts={alert: {"enabled": False}}).keys() == ALERTS.keys() - {alert}


def test_group_is_switched_off() -> None:
    """A group can be disabled. If all are, there is no PrometheusRule, unless the values add rules."""
    names = [group["name"] for group in rendered()]
    for name in names:
        left = [group["name"] for group in rendered(groups={name: {"enabled": False}})]
        assert left == [other_name for other_name in names if other_name != name]
    everything = {name: {"enabled": False} for name in names}
    assert rendered(groups=everything) == []
    own = {"name": "ours", "rules": [{"record": "a:b:c", "expr": "vector(1)"}]}
    assert rendered(groups=everything, extraGroups=[own]) == [own]


def test_group_of_switched_off_alerts_disappears() -> None:
    """A group without an enabled alert is not rendered."""
    first = next(group for group in rendered() if all("alert" in rule for rule in group["rules"]))
    left = rendered(alerts={rule["alert"]: {"enabled": False} for rule in first["rules"]})
    assert first["name"] not in [group["name"] for group in left]


def test_labels_win_in_order() -> None:
    """Precedence, lowest first: labels of the rule, of all alerts, severity of the alert, labels of the alert."""
    name = "ModelArtsTrainingJobFailed"

    def labels(**own: Any) -> Json:
        found = alerts(ruleLabels={"severity": "all", "team": "ml"}, alerts={name: own})[name]["labels"]
        assert isinstance(found, dict)
        return found

    assert alerts()[name]["labels"] == {"severity": "critical"}
    assert labels() == {"severity": "all", "team": "ml"}
    assert labels(severity="page") == {"severity": "page", "team": "ml"}
    assert labels(severity="page", labels={"severity": "own", "a": "b"}) == {
        "severity": "own",
        "team": "ml",
        "a": "b",
    }


def test_annotations_and_times_are_set() -> None:
    """Values can set annotations, `for` and `keep_firing_for` of an alert, and the interval of groups without one."""
    name = "ModelArtsTrainingJobFailed"
    own = {"for": "1m", "keepFiringFor": "1h", "annotations": {"summary": "short", "board": "url"}}
    groups = rendered(interval="20s", alerts={name: own})
    intervals = {group["name"]: group["interval"] for group in groups}
    assert intervals.pop("modelarts-recording-day") == "1m"
    assert set(intervals.values()) == {"20s"}
    (rule,) = [rule for group in groups for rule in group["rules"] if rule.get("alert") == name]
    changed = {
        "for": "1m",
        "keep_firing_for": "1h",
        "annotations": {**ALERTS[name]["annotations"], "summary": "short", "board": "url"},
    }
    assert rule == {**ALERTS[name], **changed}


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param("1800", "900", id="alone"),
        pytest.param("> 1800 and [1800s] offset 1800s", "> 900 and [900s] offset 900s", id="windows"),
        pytest.param("1800 1800 1800", "900 900 900", id="neighbours"),
        pytest.param("for 1800. Then", "for 900. Then", id="end-of-a-sentence"),
        pytest.param("1800.", "900.", id="end-of-the-text"),
        pytest.param("18000 11800 1800.5 0.1800 x1800 1800m 1800sec 1800_", None, id="other-tokens"),
        pytest.param("$1800 ${1} 1800", "$900 ${1} 900", id="dollars"),
    ],
)
def test_token_stands_alone(text: str, expected: str | None, tmp_path: Path) -> None:
    """The token is replaced everywhere, but never as a part of another number or word."""
    copy = tmp_path / "modelarts-exporter"
    shutil.copytree(PATH, copy)
    for path in (copy / "files/alerts").glob("*.yaml"):
        path.unlink()
    rule = {"alert": "ModelArtsTrainingJobFailed", "expr": text, "labels": {}, "annotations": {"threshold": "1800"}}
    groups = {"groups": [{"name": "g", "rules": [rule]}]}
    (copy / "files/alerts/only.yaml").write_text(yaml.safe_dump(groups), encoding="utf-8")
    values = {"prometheusRule": {"enabled": True, "alerts": {"ModelArtsTrainingJobFailed": {"threshold": 900}}}}
    made = chart.render(chart.merged(chart.with_targets(), values), path=copy).one("PrometheusRule")
    assert made["spec"]["groups"][0]["rules"][0]["expr"] == (text if expected is None else expected)


def test_recording_rules_pass_unchanged(tmp_path: Path) -> None:
    """Recording rules are rendered unchanged."""
    copy = tmp_path / "modelarts-exporter"
    shutil.copytree(PATH, copy)
    group = {"name": "recorded", "rules": [{"record": "a:b:c", "expr": "vector(1)"}]}
    (copy / "files/alerts/z.yaml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    values = chart.merged(chart.with_targets(), {"prometheusRule": {"enabled": True, "ruleLabels": {"team": "ml"}}})
    assert chart.render(values, path=copy).one("PrometheusRule")["spec"]["groups"][-1] == group
