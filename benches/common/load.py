"""Load on a server, and what came of it. A call that fails ends the benchmark."""

import json
import pathlib
import re
import subprocess
import tempfile

from servers import TOKEN

LOAD = "target/release/examples/load"


def h2load(address, path, body, *, connections=8, streams=16, seconds=None, calls=None, folder=None):
    """Sends one and the same body again and again: calls a second, and with a folder for it p50 and p99."""
    log = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "log" if folder else None
    output = run(["h2load", "-c", connections, "-m", streams, "-t", 1, "-d", body, "-w", 24, "-W", 24,
                  *(["-D", seconds] if seconds else ["-n", calls]), *(["--log-file", log] if log else []),
                  "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{path}"])
    bad = re.search(r"\b0 done|[1-9]\d* (failed|errored|timeout|[345]xx)", output)
    if bad:
        raise OSError(f"not every call of {path} was answered: {output}")
    told = {"per_second": float(re.search(r"([\d.]+) req/s", output)[1])}
    if log:
        microseconds = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
        told |= percentiles(microseconds)
    return told


def load(address, path, messages, *, connections, streams, seconds=None, calls=None, rate=None, token=False):
    """Sends the messages of a file: calls a second, p50 and p99."""
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
        raise OSError(f"the load of {path} has failed")
    told = json.loads(output)
    if set(told["statuses"]) != {"0"}:
        raise OSError(f"not every call of {path} was answered OK: {told['statuses']}")
    return told | {"per_second": told["calls"] / told["seconds"]}


def wrk(url, seconds, connections=8):
    output = run(["wrk", "-t", 1, "-c", connections, "-d", f"{seconds}s", "--timeout", "10s", url])
    if re.search(r"Non-2xx|Socket errors", output):
        raise OSError(f"not every request of {url} was answered: {output}")
    return {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])}


def percentiles(sorted_microseconds):
    last = len(sorted_microseconds) - 1
    return {f"p{share}_us": sorted_microseconds[last * share // 100] for share in (50, 99)}


def run(command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True,
                          timeout=120).stdout
