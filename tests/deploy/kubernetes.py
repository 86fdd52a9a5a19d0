#!/usr/bin/env python3
"""Holds rendered manifests to what no schema can: selectors that meet, ports and mounts that exist, the
restricted Pod Security Standard.

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

    def holds(fact, words):
        if not fact:
            sys.exit(f"{path}: {words}")

    selectors = {
        "StatefulSet": workload["selector"]["matchLabels"],
        "Service": kinds["Service"]["selector"],
        "NetworkPolicy": kinds["NetworkPolicy"]["podSelector"].get("matchLabels"),
    }
    for kind, selector in selectors.items():
        holds(selector and selector.items() <= labels.items(), f"the {kind} does not select the pod alone")
    asked = [port["targetPort"] for port in kinds["Service"]["ports"]]
    asked += [port["port"] for rule in kinds["NetworkPolicy"]["ingress"] for port in rule["ports"]]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        way = container[probe]
        holds(("httpGet" in way) != ("grpc" in way), f"{probe} asks in more ways than one")
        asked.append(way.get("httpGet", way.get("grpc"))["port"])
    holds(set(asked) <= ports, f"a port that is not there is asked for: {asked}")

    mounts = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod.get("volumes") or []}
    volumes |= {claim["metadata"]["name"] for claim in workload["volumeClaimTemplates"]}
    holds(mounts == volumes, f"mounted {mounts}, there {volumes}")
    settings = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    has_tls = "PORTBOOK_TLS_CERT" in settings
    holds(has_tls != ("PORTBOOK_ALLOW_PLAINTEXT" in settings), "either certificates or plaintext")
    for name in ("PORTBOOK_TLS_CERT", "PORTBOOK_TLS_KEY"):
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        holds(not has_tls or any(settings[name].startswith(path) for path in paths), f"{name} is not mounted")
    # The kubelet can't ask over TLS.
    holds(not has_tls or "grpc" not in container["readinessProbe"], "a gRPC probe against TLS")

    holds(workload["replicas"] == 1, "one server has the database")
    own = container["securityContext"]
    holds(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
          and own["allowPrivilegeEscalation"] is False and own["capabilities"]["drop"] == ["ALL"]
          and own["readOnlyRootFilesystem"], "not the restricted Pod Security Standard")
    print(f"{path.rsplit('/', 1)[-1]}: selectors, ports, mounts, restricted: as they have to be")


if __name__ == "__main__":
    main(sys.argv[1])
