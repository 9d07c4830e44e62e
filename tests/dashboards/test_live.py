"""Every query of every board, run by a real Prometheus that scrapes the real exporter and a simulated cloud.

The exporter is scraped under three names: as two replicas in one cluster and as the only exporter of another.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from dashboards.src import users
from exporter.simulator import DOMAIN, PASSWORD, PROJECT_NAME, USER
from tests.dashboards.rendered import (
    BOARDS,
    BoardQuery,
    Json,
    all_selected,
    board_queries,
    panels,
    parse_variable,
    substitute,
    variables,
)

pytestmark = pytest.mark.serial

TIMEOUT_S = 45.0
"""Maximum time until every panel has data."""
CHOICES: Mapping[str, str] = {"idle_for": "60", "straggler_below": "0.95", "objective": "60"}
"""Options of variables with the lowest limits, because few simulated jobs exceed the defaults."""
NOT_SIMULATED = "the simulated cloud has no nodes in this state"
MAY_BE_EMPTY: Mapping[str, str] = {
    "modelarts-pools / Nodes by flavor / C": NOT_SIMULATED,
    "modelarts-pools / Nodes by flavor / E": NOT_SIMULATED,
}
"""Queries without a result in this simulated world, and the reason."""

GPU_MODEL, GPU_FLAVOR = "GP-Vnt1", "modelarts.vm.gpu.8v100NV32"
"""Model and flavor with a price; NPUs have none."""

Sample = tuple[Mapping[str, str], float]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


@contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    """Run a program until the block ends."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def until(condition: Callable[[], bool], *, what: str) -> None:
    """Wait for a condition. Fails with its name after the timeout."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.2)


def is_ready(port: int, path: str) -> bool:
    """Return whether a server responds with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._port = port

    def count_series(self, query: BoardQuery, choices: Mapping[str, str]) -> int:
        """Return the number of series in the result. Raises AssertionError when Prometheus rejects the query."""
        expr, now = substitute(query.expr, choices), time.time()
        if query.instant:
            return len(self.query(expr))
        found = self._get("query_range", {"query": expr, "start": now - 30, "end": now, "step": 5})
        return len(found["result"])

    def query(self, expr: str, *, at: float | None = None) -> list[Sample]:
        """Run an instant query, at a fixed time if results are compared."""
        found = self._get("query", {"query": expr, "time": at or time.time()})
        return [(series["metric"], float(series["value"][1])) for series in found["result"]]

    def value(self, expr: str, *, at: float | None = None) -> float:
        """Return the only value of an expression."""
        ((_, value),) = self.query(expr, at=at)
        return value

    def label_values(self, label: str, series: str) -> list[str]:
        """Return the values of a label in some series."""
        found = self._get(f"label/{label}/values", {"match[]": series} if series else {})
        assert isinstance(found, list)
        return found

    def _get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", (parameters, answer.get("error"))
        return answer["data"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes an exporter of a simulated cloud. Skipped without the program, except in CI."""
    program = shutil.which("prometheus")
    if program is None:
        assert os.environ.get("CI") != "true", "CI needs prometheus"
        pytest.skip("prometheus is not installed: the queries of the boards were NOT tested")
    folder = tmp_path_factory.mktemp("live")
    cloud, exporter, own = free_port(), free_port(), free_port()
    (folder / "exporter.yaml").write_text(yaml.safe_dump(_settings(cloud, folder)), encoding="utf-8")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(_scraping(exporter)), encoding="utf-8")
    us = (sys.executable, "-m", "exporter")
    with ExitStack() as up:
        up.enter_context(
            running(
                *us,
                "simulate",
                f"--listen-address=127.0.0.1:{cloud}",
                "--jobs=40",
                "--history=200",
                "--pace=20",
                "--quirk=unknown-values",
                "--fault=429:retry_after=0,probability=0.05",
                log=folder / "cloud.log",
            )
        )
        until(lambda: is_ready(cloud, "/simulator/"), what="the simulated cloud")
        _submit(cloud, "idle-job", nodes=1, usage={"worker-0": [80.0, 1.0, 2.0, 1.0, 0.0, 1.0]})
        _submit(cloud, "straggler", nodes=2, usage={"worker-0": [90.0] * 6, "worker-1": [30.0] * 6})
        _submit(cloud, "hung", nodes=1, usage={"worker-0": [80.0, *[50.0] * 6]})
        for _ in range(2):
            _post(cloud, "/simulator/jobs/hung/recover", {"gap_s": 0.0, "tried": "proc_restart"})
        up.enter_context(
            running(
                *us,
                "serve",
                f"--config.file={folder / 'exporter.yaml'}",
                f"--web.listen-address=127.0.0.1:{exporter}",
                log=folder / "exporter.log",
            )
        )
        up.enter_context(
            running(
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{own}",
                log=folder / "prometheus.log",
            )
        )
        until(lambda: is_ready(exporter, "/-/ready"), what="the exporter's first poll")
        until(lambda: is_ready(own, "/-/ready"), what="Prometheus")
        prometheus = Prometheus(own)
        until(lambda: prometheus.query("modelarts_exporter_unknown_values_total") != [], what="unknown values")
        _post(
            cloud, "/simulator/quirks", {"off": ["unknown-values"]}
        )  # it may hit the two jobs submitted by the test
        _post(cloud, "/simulator/pools/pool-vision-a100/break", {"nodes": 1})
        _submit_idle_job(cloud, prometheus)
        _recover_twice(cloud, prometheus)
        until(lambda: _usage_scraped(prometheus), what="usage of jobs under all three names")
        hung = 'modelarts_training_job_info{job_name="hung"}'
        hangs = f"modelarts_training_job_suspected_hang == 1 and on (job_id) {hung}"
        until(lambda: len(prometheus.query(hangs)) >= 3, what="the hang, under all three names")
        yield prometheus


def _submit_idle_job(cloud: int, prometheus: Prometheus) -> None:
    """Make a job idle after it was first seen: only idle time from then on counts as idle accelerator-hours."""
    _submit(cloud, "becomes-idle", nodes=1, usage={})
    running = 'modelarts_training_job_status{status="running"}'
    named = 'modelarts_training_job_info{job_name="becomes-idle"}'
    until(lambda: prometheus.query(f"{running} and on (job_id) {named}") != [], what="the job that will idle")
    _post(cloud, "/simulator/advance", {"seconds": 480})  # a minute counts once it is over
    _post(cloud, "/simulator/jobs/becomes-idle/usage", {"task": "worker-0", "gpu": [-1, *[1.0] * 6]})


def _recover_twice(cloud: int, prometheus: Prometheus) -> None:
    """Let a job recover from two faults, the second after the first was scraped: a new series has no increase."""
    counted = 'modelarts_training_recovery_duration_seconds_count{policy="npu_step_retry"}'
    for more_than in (f"{counted} > 0", f"{counted} > 1"):
        _post(cloud, "/simulator/jobs/becomes-idle/heal", {"lasts_s": 2.0})
        until(partial(_is_scraped, prometheus, more_than), what="a recovery under all three names")


def _is_scraped(prometheus: Prometheus, expr: str) -> bool:
    """Return whether an expression has a series for each of the three scrape targets."""
    return len({labels["instance"] for labels, _ in prometheus.query(expr)}) == 3


def _usage_scraped(prometheus: Prometheus) -> bool:
    """Return whether each scrape target has the usage of the submitted jobs more than twice."""
    seen = prometheus.query(
        "count by (instance) (count_over_time(modelarts_training_job_accelerator_utilization_ratio[1m]) > 2"
        ' and on (job_id) modelarts_training_job_info{job_name=~"idle-job|straggler"})'
    )
    return [value for _, value in seen] == [2.0, 2.0, 2.0]


def _submit(cloud: int, name: str, *, nodes: int, usage: Mapping[str, Sequence[float]]) -> None:
    """Submit a running job with fixed usage; the usage of other simulated jobs is random."""
    steps: list[tuple[str, Mapping[str, Any]]] = [("", {"name": name, "nodes": nodes, "user": "robotics"})]
    steps.append((f"/{name}/start", {}))
    steps += [
        (f"/{name}/usage", {"task": task, "gpu": [-1, -1, *minutes], "cpu": [-1, -1, *[50.0] * len(minutes)]})
        for task, minutes in usage.items()
    ]
    for path, body in steps:
        _post(cloud, f"/simulator/jobs{path}", body)


def _post(cloud: int, path: str, body: Mapping[str, Any]) -> None:
    """Call the control API of the simulator."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud, timeout=5)
    try:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        assert answer.status in {200, 201}, answer.read()
    finally:
        connection.close()


def _settings(cloud: int, folder: Path) -> dict[str, Any]:
    url = f"http://127.0.0.1:{cloud}"
    return {
        "targets": [
            {
                "project": "vision",
                "project_name": PROJECT_NAME,
                "region": "eu-de",
                "endpoint": url,
                "iam_endpoint": url,
                "rate_limit": {"requests_per_second": 200, "burst": 200, "concurrency": 8},
                "credentials": {"type": "password", "username": USER, "password": PASSWORD, "domain_name": DOMAIN},
            }
        ],
        "collection": {"jobs_interval": "1s", "usage_interval": "2s", "pools_interval": "2s"},
        "metrics": {"per_task": True, "idle_grace": "1m", "hang_after": "5m"},
        "prices": {
            "currency": "EUR",
            "accelerator_hour": [
                {"accelerator_model": GPU_MODEL, "price": 2.5},
                {"flavor": GPU_FLAVOR, "price": 2.0},
            ],
        },
        "state": {"file": str(folder / "state.json")},
    }


def _scraping(exporter: int) -> dict[str, Any]:
    """Scrape one exporter under three instance names. All have the same values, so a doubled number is a bug."""
    target = f"127.0.0.1:{exporter}"
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {
                "job_name": "modelarts-exporter",
                "static_configs": [
                    {"targets": [target], "labels": {"instance": instance, "cluster": cluster}}
                    for instance, cluster in (("blue-0", "blue"), ("blue-1", "blue"), ("green-0", "green"))
                ],
            }
        ],
    }


def choices(of: Json, **chosen: str) -> Mapping[str, str]:
    """Return values of all variables: those given, else All."""
    return {**all_selected(of), **{name: CHOICES[name] for name in CHOICES if name in variables(of)}, **chosen}


def test_every_query_returns_data(prometheus: Prometheus) -> None:
    """Each query of panels, annotations and variables returns data; exceptions have a reason."""
    pending = [
        (query, choices(of))
        for of in BOARDS.values()
        for query in board_queries(of)
        if query.location not in MAY_BE_EMPTY
    ]

    def all_returned_data() -> bool:
        pending[:] = [(query, values) for query, values in pending if not prometheus.count_series(query, values)]
        return not pending

    try:
        until(all_returned_data, what="data")
    except AssertionError:
        pytest.fail("no data: " + "; ".join(query.location for query, _ in pending))


@pytest.mark.parametrize(
    "board, title",
    [
        ("fleet", "Projects not monitored"),
        ("fleet", "Running"),
        ("fleet", "Waiting"),
        ("fleet", "Accelerators held"),
        ("fleet", "Accelerators queued"),
        ("fleet", "Failures (24 h)"),
        ("fleet", "Utilisation"),
        ("queue", "Queued jobs"),
        ("queue", "Beyond objective"),
        ("users", "Accelerators held"),
        ("users", "Cost per hour"),
        ("users", "Held without a price"),
        ("pools", "Accelerators"),
        ("pools", "Free"),
        ("pools", "Abnormal nodes"),
    ],
)
def test_replicas_count_once(prometheus: Prometheus, board: str, title: str) -> None:
    """With both replicas selected, a number is the same as with one, except for changes between two scrapes."""
    of = BOARDS[f"modelarts-{board}"]
    (expr,) = (panel["targets"][0]["expr"] for panel in panels(of) if panel["title"] == title)
    now = time.time()

    both = prometheus.value(substitute(expr, choices(of, cluster="blue")), at=now)
    one = prometheus.value(substitute(expr, choices(of, cluster="blue", instance="blue-0")), at=now)

    assert both == pytest.approx(one, rel=0.25)  # counted twice, it would be 100 % more


def test_clusters_add_up(prometheus: Prometheus) -> None:
    """Projects with the same name in two clusters are two projects; selecting a cluster keeps one."""
    of = BOARDS["modelarts-fleet"]
    (expr,) = (panel["targets"][0]["expr"] for panel in panels(of) if panel["title"] == "Running")
    now = time.time()

    every, blue, green = (
        prometheus.value(substitute(expr, choices(of, cluster=cluster)), at=now)
        for cluster in (".*", "blue", "green")
    )

    assert every == blue + green
    assert blue > 0


def test_public_pool_can_be_selected(prometheus: Prometheus) -> None:
    """Its label is empty, so its value is a pattern that matches only jobs without a pool."""
    of = BOARDS["modelarts-jobs"]
    variable = variables(of)["pool"]
    _, _, query = parse_variable(variable["query"])
    offered = {tuple(sorted(labels.items())) for labels, _ in prometheus.query(substitute(query, choices(of)))}
    assert (("text", "public"), ("value", "^")) in offered
    dedicated = next(dict(labels)["value"] for labels in offered if dict(labels)["text"] != "public")

    def pools(chosen: str) -> set[str]:
        info = f'count by (pool_id) (modelarts_training_job_info{{pool_id=~"{chosen}"}})'
        return {labels.get("pool_id", "") for labels, _ in prometheus.query(info)}

    assert pools("^") == {""}
    assert pools(f"^|{dedicated}") == {"", dedicated}


@pytest.mark.parametrize("board, name", [("jobs", "pool"), ("jobs", "training_job"), ("pools", "pool")])
def test_query_result_variables_are_parsed_as_by_grafana(prometheus: Prometheus, board: str, name: str) -> None:
    """Grafana formats each series as text; the regex of the variable extracts the name and the value of an option."""
    of = BOARDS[f"modelarts-{board}"]
    variable = variables(of)[name]
    _, _, query = parse_variable(variable["query"])
    pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))

    for labels, value in prometheus.query(substitute(query, choices(of))):
        pairs = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
        found = pattern.search(f"{{{pairs}}} {value:.0f} 1700000000000")
        assert found is not None, pairs
        assert (found["text"], found["value"]) == (labels["text"], labels.get("value") or labels["job_id"])


@pytest.mark.parametrize("name", ["cluster", "job", "instance", "project", "user"])
def test_variables_have_options(prometheus: Prometheus, name: str) -> None:
    """The label of each variable has values."""
    of = BOARDS["modelarts-jobs"]
    series, label, _ = parse_variable(variables(of)[name]["query"])

    assert prometheus.label_values(label, substitute(series, choices(of)) if series != label else "")


def test_tables_are_filtered_by_user(prometheus: Prometheus) -> None:
    """With a user selected, the tables have only jobs of that user."""
    of = BOARDS["modelarts-jobs"]
    user = prometheus.query("topk(1, count by (user) (modelarts_training_job_info{user!=''}))")[0][0]["user"]
    tables = [panel for panel in panels(of) if panel["type"] == "table"]

    for panel in tables:
        rows = prometheus.query(substitute(panel["targets"][0]["expr"], choices(of, user=user)))
        assert {labels["user"] for labels, _ in rows} <= {user}, panel["title"]


def test_queries_of_one_table_agree_about_its_rows(prometheus: Prometheus) -> None:
    """The first query of a table defines its rows: the other queries return no other jobs."""
    now = time.time()
    for uid in ("modelarts-jobs", "modelarts-waste"):
        of = BOARDS[uid]
        for panel in (panel for panel in panels(of) if panel["type"] == "table"):
            known, *others = (
                {
                    (labels["cluster"], labels["project"], labels["job_id"])
                    for labels, _ in prometheus.query(substitute(target["expr"], choices(of)), at=now)
                }
                for target in panel["targets"]
            )
            for other in others:
                assert other <= known, panel["title"]


def test_waste_tables_have_the_values_of_jobs(prometheus: Prometheus) -> None:
    """A job with eight accelerators is idle for five minutes; a task at 30 % beside one at 90 % is a straggler."""
    of = BOARDS["modelarts-waste"]
    table = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in panels(of)}

    def row(title: str, column: int, job_name: str) -> float:
        of_job = f'and on (job_id) modelarts_training_job_info{{job_name="{job_name}"}}'
        return prometheus.value(f"({substitute(table[title][column], choices(of, cluster='green'))}) {of_job}")

    assert row("Idle jobs", 1, "idle-job") == 5 * 60
    assert row("Idle jobs", 2, "idle-job") == 8
    assert row("Idle jobs", 0, "idle-job") == pytest.approx(8 * 300 / 3600)
    # 30 over the mean of 90 and 30
    assert row("Stragglers", 0, "straggler") == pytest.approx(30 / 60)


@pytest.mark.parametrize("cluster", ["blue", "green"])
def test_costs_follow_the_price_list(prometheus: Prometheus, cluster: str) -> None:
    """Eight accelerators of a flavor with a price of 2.00 cost 16.00 an hour, with one exporter or two.

    The price of their model is not used. NPUs have no price and count as held without a price.
    """
    chosen, now = choices(BOARDS["modelarts-users"], cluster=cluster), time.time()

    def held(expr: str, info: str) -> list[Sample]:
        of_jobs = f"and on (cluster, job_id) modelarts_training_job_info{{{info}}}"
        return prometheus.query(f"({substitute(expr, chosen)}) {of_jobs}", at=now)

    ((labels, cost),) = held(users.COST_BY_JOB, 'job_name="idle-job"')
    assert (cost, labels["currency"], labels["user"]) == (16.0, "EUR", "robotics")
    npus = 'accelerator="npu"'
    assert held(users.COST_BY_JOB, npus) == []
    unpriced, every = ({of["job_id"] for of, _ in held(expr, npus)} for expr in (users.UNPRICED, users.HELD_BY_JOB))
    assert unpriced == every != set()


def test_stuck_jobs_are_listed(prometheus: Prometheus) -> None:
    """A job without a change for five minutes is a suspected hang; two immediate recoveries are a crash loop."""
    of = BOARDS["modelarts-jobs"]
    (table,) = (
        [target["expr"] for target in panel["targets"]] for panel in panels(of) if panel["title"] == "Stuck jobs"
    )
    named = 'and on (job_id) modelarts_training_job_info{job_name="hung"}'
    _, hang, flat_s, loop, *_ = (
        prometheus.value(f"({substitute(expr, choices(of, cluster='green'))}) {named}") for expr in table
    )

    assert (hang, flat_s, loop) == (1, 5 * 60, 2)


def test_pools_board_excludes_demand_for_the_public_pool(prometheus: Prometheus) -> None:
    """The queued accelerators on the board Pools are those queued in dedicated pools."""
    of, now = BOARDS["modelarts-pools"], time.time()
    (graph,) = (panel for panel in panels(of) if panel["title"] == "Queued and free accelerators")
    (queued,) = (target["expr"] for target in graph["targets"] if target["legendFormat"] == "queued")
    dedicated = 'sum(modelarts_training_accelerators{cluster="green", state="queued", pool_id!=""})'

    shown = prometheus.value(substitute(queued, choices(of, cluster="green")), at=now)

    assert shown == prometheus.value(dedicated, at=now)
