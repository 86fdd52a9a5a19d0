#!/usr/bin/env python3
"""Checks what schemas of rendered manifests can't: selectors match, ports and mounts exist, and the
restricted Pod Security Standard is met.

usage: kubernetes.py RENDERED_FILE
"""

import sys

import yaml


def main(path):
    with open(path, encoding="utf-8") as file:
        kinds = {document["kind"]: document["spec"] for document in yaml.safe_load_all(file)}
    workload = kinds["StatefulSet"]
    labels, pod = workload["template"]["metadata"]["labels"], workload["template"]["spec"]
    container = pod["containers"][0]
    ports = {port["name"] for port in container["ports"]} | {port["containerPort"] for port in container["ports"]}

    def require(condition, message):
        if not condition:
            sys.exit(f"{path}: {message}")

    selectors = {
        "StatefulSet": workload["selector"]["matchLabels"],
        "Service": kinds["Service"]["selector"],
        "NetworkPolicy": kinds["NetworkPolicy"]["podSelector"].get("matchLabels"),
    }
    for kind, selector in selectors.items():
        require(selector and selector.items() <= labels.items(), f"the {kind} does not select only the pod")
    used = [port["targetPort"] for port in kinds["Service"]["ports"]]
    used += [port["port"] for rule in kinds["NetworkPolicy"]["ingress"] for port in rule["ports"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        way = container[probe]
        require(("httpGet" in way) != ("grpc" in way), f"{probe} must use exactly one of httpGet and grpc")
        used.append(way.get("httpGet", way.get("grpc"))["port"])
    require(set(used) <= ports, f"undefined ports are used: {used}")

    mounts = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod.get("volumes") or []}
    volumes |= {claim["metadata"]["name"] for claim in workload["volumeClaimTemplates"]}
    require(mounts == volumes, f"mounted {mounts}, defined {volumes}")
    settings = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    has_tls = "PORTBOOK_TLS_CERT" in settings
    require(has_tls != ("PORTBOOK_ALLOW_PLAINTEXT" in settings), "either certificates or plaintext")
    for name in ("PORTBOOK_TLS_CERT", "PORTBOOK_TLS_KEY"):
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        require(not has_tls or any(settings[name].startswith(path) for path in paths), f"{name} is not mounted")
    # The kubelet can't probe gRPC over TLS.
    require(not has_tls or "grpc" not in container["readinessProbe"], "a gRPC probe against TLS")

    require(workload["replicas"] == 1, "one server has the database")
    own = container["securityContext"]
    require(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
          and own["allowPrivilegeEscalation"] is False and own["capabilities"]["drop"] == ["ALL"]
          and own["readOnlyRootFilesystem"], "not the restricted Pod Security Standard")
    print(f"{path.rsplit('/', 1)[-1]}: selectors, ports, mounts and security context are valid")


if __name__ == "__main__":
    main(sys.argv[1])
