#!/usr/bin/env python3
"""Compares the dashboard, the alerts and the table of docs/operations.md with the metrics of a server.

usage: dashboard.py METRICS_FILE    (the response of GET /metrics, as OpenMetrics)

Fails for every metric or label that a query, a legend, a variable or an alert uses and the server
does not export, for every query that is not valid PromQL, and for every metric that is missing from
the table of docs/operations.md or listed there in error. Checks no values, and needs no Prometheus.
"""

import json
import re
import sys
from pathlib import Path

import promql_parser as promql
import yaml
from prometheus_client.openmetrics.parser import text_fd_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
# The labels that Prometheus adds to every sample.
TARGET = {"job", "instance"}


class Unknown(Exception):
    """A name that the server does not export, or a query that can't be parsed."""


def exported(path):
    """The labels of every exported sample by name, and the labels of every family by name."""
    samples, families = {"up": set(TARGET)}, {}
    with open(path, encoding="utf-8") as file:
        for family in text_fd_to_metric_families(file):
            for sample in family.samples:
                samples.setdefault(sample.name, set(TARGET)).update(sample.labels)
                if not sample.name.endswith("_created"):
                    labels = set(sample.labels) - {"le"}
                    name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
                    families.setdefault(name, set()).update(labels)
            if not family.samples:
                raise Unknown(f"{family.name} has no sample, so its labels are unknown")
    return samples, families


def require(names, labels, where):
    missing = set(names) - labels
    if missing:
        raise Unknown(f"{where} has no label {', '.join(sorted(missing))}")


class Queries:
    """Parses queries, and records the metrics that they use."""

    def __init__(self, samples):
        self.samples, self.used, self.count = samples, set(), 0

    def labels(self, query):
        """The labels of the result of a query."""
        for variable, value in {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}.items():
            query = query.replace(variable, value)
        try:
            tree = promql.parse(query)
        except ValueError as error:
            raise Unknown(f"not valid PromQL: {error}") from error
        self.count += 1
        return self.walk(tree)

    def walk(self, node):
        match node:
            case promql.MatrixSelector():
                return self.walk(node.vector_selector)
            case promql.VectorSelector():
                if node.name not in self.samples:
                    raise Unknown(f"the server does not export {node.name}")
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
                        require(["le"], labels, "the argument of histogram_quantile")
                        return labels - {"le"}
                    case "label_replace" | "label_join":
                        raise Unknown(f"{node.func.name} is not supported here")
                return labels
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self.walk(node.expr)
            case promql.NumberLiteral() | promql.StringLiteral():
                return set()
        raise Unknown(f"{type(node).__name__} is not supported here")

    def variable(self, query):
        """A variable of the dashboard: label_values(selector, label)."""
        parts = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        if not parts:
            raise Unknown(f"not a label_values query: {query}")
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
    occupied = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        check(f"panel {panel['title']}", lambda: None if not cells & occupied and at["x"] + at["w"] <= 24
              else fail("overlaps another panel or exceeds the width"))
        occupied |= cells
        for target in panel.get("targets", []):
            check(f"panel {panel['title']}", lambda: require(
                re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]), queries.labels(target["expr"]), target["expr"]))


def fail(text):
    raise Unknown(text)


def alerts(queries, check):
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            text = " ".join(rule["annotations"].values())
            check(f"alert {rule['alert']}", lambda: require(
                re.findall(r"\$labels\.(\w+)", text), queries.labels(rule["expr"]), rule["expr"]))


def operations(families, check):
    """Rows such as | `portbook_calls_total` | `rpc`, `code` | ... | list exactly the exported metrics."""
    rows = re.findall(r"^\| `(portbook_\w+)` \|([^|]*)\|", (ROOT / "docs/operations.md").read_text(encoding="utf-8"), re.M)
    table = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    exported_families = {name: labels for name, labels in families.items() if name.startswith("portbook_")}
    for name in sorted(table.keys() | exported_families.keys()):
        check(f"docs/operations.md {name}", lambda: None if table.get(name) == exported_families.get(name)
              else fail(f"the table has {table.get(name)}, the server {exported_families.get(name)}"))


def main():
    errors = []

    def check(where, function):
        try:
            function()
        except Unknown as unknown:
            errors.append(f"{where}: {unknown}")

    samples, families = exported(sys.argv[1])
    queries = Queries(samples)
    dashboard(queries, check)
    alerts(queries, check)
    operations(families, check)
    if errors:
        sys.exit("\n".join(errors))
    print(f"dashboard and alerts: {queries.count} queries of {len(queries.used)} metrics, all exported by the server; "
          f"{len(families)} metrics, all in docs/operations.md")


if __name__ == "__main__":
    main()
