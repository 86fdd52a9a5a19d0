#!/usr/bin/env python3
"""Holds the dashboard, the alerts and the table of OPERATIONS.md to what a server really tells.

usage: dashboard.py METRICS_FILE    (what GET /metrics answered, as OpenMetrics)

Fails for every metric or label that a query, a legend, a variable or an alert names and the server
does not tell, for every query that is no PromQL, and for every metric that the table of OPERATIONS.md
has too much or too little. Judges no values, and asks no Prometheus.
"""

import json
import re
import sys
from pathlib import Path

import promql_parser as promql
import yaml
from prometheus_client.openmetrics.parser import text_fd_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
# What Prometheus adds to all that it scrapes.
TARGET = {"job", "instance"}


class Unknown(Exception):
    """A name that no server tells, or a query that can't be understood."""


def told(path):
    """The labels of every sample a server tells, by its name; and the names of its families."""
    samples, families = {"up": set(TARGET)}, {}
    with open(path, encoding="utf-8") as file:
        for family in text_fd_to_metric_families(file):
            for sample in family.samples:
                samples.setdefault(sample.name, set(TARGET)).update(sample.labels)
                if not sample.name.endswith("_created"):
                    own = set(sample.labels) - {"le"}
                    name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
                    families.setdefault(name, set()).update(own)
            if not family.samples:
                raise Unknown(f"{family.name} has no sample, so its labels can't be told")
    return samples, families


def require(names, labels, where):
    missing = set(names) - labels
    if missing:
        raise Unknown(f"{where} has no label {', '.join(sorted(missing))}")


class Queries:
    """Reads queries, and remembers which metrics they use."""

    def __init__(self, samples):
        self.samples, self.used, self.count = samples, set(), 0

    def labels(self, query):
        """The labels of what a query answers."""
        for variable, value in {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}.items():
            query = query.replace(variable, value)
        try:
            tree = promql.parse(query)
        except ValueError as error:
            raise Unknown(f"no PromQL: {error}") from error
        self.count += 1
        return self.walk(tree)

    def walk(self, node):
        match node:
            case promql.MatrixSelector():
                return self.walk(node.vector_selector)
            case promql.VectorSelector():
                if node.name not in self.samples:
                    raise Unknown(f"no server tells {node.name}")
                self.used.add(node.name)
                labels = self.samples[node.name]
                require((m.name for m in node.matchers.matchers), labels, node.name)
                return labels
            case promql.AggregateExpr():
                labels = self.walk(node.expr)
                if node.modifier is None:
                    return set()
                named = set(node.modifier.labels)
                require(named, labels, promql.Expr.prettify(node.expr))
                return named if "By" in str(node.modifier.type) else labels - named
            case promql.BinaryExpr():
                left, right = self.walk(node.lhs), self.walk(node.rhs)
                matching = node.modifier and node.modifier.matching
                if matching:
                    require(matching.labels, left, "the left side of " + str(node.op))
                    require(matching.labels, right, "the right side of " + str(node.op))
                return left or right
            case promql.Call():
                labels = set().union(*(self.walk(argument) for argument in node.args))
                match node.func.name:
                    case "histogram_quantile":
                        require(["le"], labels, "what histogram_quantile is made of")
                        return labels - {"le"}
                    case "label_replace" | "label_join":
                        raise Unknown(f"{node.func.name} is not understood here")
                return labels
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self.walk(node.expr)
            case promql.NumberLiteral() | promql.StringLiteral():
                return set()
        raise Unknown(f"{type(node).__name__} is not understood here")

    def variable(self, query):
        """A variable of the dashboard: label_values(selector, label)."""
        parts = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        if not parts:
            raise Unknown(f"no label_values: {query}")
        require([parts[2]], self.labels(parts[1]), parts[1])


def dashboard(queries, check):
    board = json.loads((ROOT / "deploy/grafana/portbook.json").read_text(encoding="utf-8"))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            for query in {variable["definition"], variable["query"]["query"]}:
                check(f"variable {variable['name']}", lambda: queries.variable(query))
    for note in board["annotations"]["list"]:
        check(f"annotation {note['name']}", lambda: require(
            re.findall(r"{{\s*(\w+)\s*}}", note["titleFormat"]), queries.labels(note["expr"]), note["expr"]))
    places = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        check(f"panel {panel['title']}", lambda: None if not cells & places and at["x"] + at["w"] <= 24
              else fail("lies on another or beside the page"))
        places |= cells
        for target in panel.get("targets", []):
            check(f"panel {panel['title']}", lambda: require(
                re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]), queries.labels(target["expr"]), target["expr"]))


def fail(words):
    raise Unknown(words)


def alerts(queries, check):
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            words = " ".join(rule["annotations"].values())
            check(f"alert {rule['alert']}", lambda: require(
                re.findall(r"\$labels\.(\w+)", words), queries.labels(rule["expr"]), rule["expr"]))


def operations(families, check):
    """Rows such as | `portbook_calls_total` | `rpc`, `code` | ... | are what the server tells, all of it."""
    rows = re.findall(r"^\| `(portbook_\w+)` \|([^|]*)\|", (ROOT / "OPERATIONS.md").read_text(encoding="utf-8"), re.M)
    table = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    own = {name: labels for name, labels in families.items() if name.startswith("portbook_")}
    for name in sorted(table.keys() | own.keys()):
        check(f"OPERATIONS.md {name}", lambda: None if table.get(name) == own.get(name)
              else fail(f"the table has {table.get(name)}, the server {own.get(name)}"))


def main():
    faults = []

    def check(where, question):
        try:
            question()
        except Unknown as unknown:
            faults.append(f"{where}: {unknown}")

    samples, families = told(sys.argv[1])
    queries = Queries(samples)
    dashboard(queries, check)
    alerts(queries, check)
    operations(families, check)
    if faults:
        sys.exit("\n".join(faults))
    print(f"dashboard and alerts: {queries.count} queries of {len(queries.used)} metrics, all told by the server; "
          f"{len(families)} metrics, all in OPERATIONS.md")


if __name__ == "__main__":
    main()
