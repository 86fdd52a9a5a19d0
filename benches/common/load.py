"""Generates load on a server and returns the measurements. A failed call ends the benchmark."""

import json
import pathlib
import re
import subprocess
import tempfile

from servers import TOKEN

LOAD = "target/release/examples/load"


def h2load(address, path, body, *, connections=8, streams=16, seconds=None, calls=None, folder=None):
    """Sends the same body repeatedly. Returns calls per second and, if a folder for the log is given, p50 and p99."""
    log = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "log" if folder else None
    output = run(["h2load", "-c", connections, "-m", streams, "-t", 1, "-d", body, "-w", 24, "-W", 24,
                  *(["-D", seconds] if seconds else ["-n", calls]), *(["--log-file", log] if log else []),
                  "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{path}"])
    bad = re.search(r"\b0 done|[1-9]\d* (failed|errored|timeout|[345]xx)", output)
    if bad:
        raise OSError(f"calls of {path} failed: {output}")
    result = {"per_second": float(re.search(r"([\d.]+) req/s", output)[1])}
    if log:
        microseconds = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
        result |= percentiles(microseconds)
    return result


def load(address, path, messages, *, connections, streams, seconds=None, calls=None, rate=None, token=False):
    """Sends the messages of a file. Returns calls per second, p50 and p99."""
    return finish(begin_load(address, path, messages, connections=connections, streams=streams, seconds=seconds,
                             calls=calls, rate=rate, token=token), path)


def begin_load(address, path, messages, *, connections, streams, seconds=None, calls=None, rate=None, token=False):
    options = {"connections": connections, "streams": streams, "seconds": seconds, "calls": calls, "rate": rate,
               "authorization": f"Bearer {TOKEN}" if token else None}
    flags = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return subprocess.Popen([LOAD, address, path, messages, *flags], stdout=subprocess.PIPE, text=True)


def finish(process, path):
    output = process.communicate(timeout=120)[0]
    if process.returncode:
        raise OSError(f"the load generator failed for {path}")
    result = json.loads(output)
    if set(result["statuses"]) != {"0"}:
        raise OSError(f"calls of {path} failed: {result['statuses']}")
    return result | {"per_second": result["calls"] / result["seconds"]}


def wrk(url, seconds, connections=8):
    output = run(["wrk", "-t", 1, "-c", connections, "-d", f"{seconds}s", "--timeout", "10s", url])
    if re.search(r"Non-2xx|Socket errors", output):
        raise OSError(f"requests of {url} failed: {output}")
    return {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])}


def percentiles(sorted_microseconds):
    last = len(sorted_microseconds) - 1
    return {f"p{percent}_us": sorted_microseconds[last * percent // 100] for percent in (50, 99)}


def run(command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True,
                          timeout=120).stdout
