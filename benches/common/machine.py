"""The machine that a benchmark ran on, and what it ran."""

import datetime
import os
import pathlib
import platform
import re
import subprocess


def machine(folder, tools):
    """What a reader needs to know, by name. `tools`: commands that tell their version."""
    processors = pathlib.Path("/proc/cpuinfo").read_text()
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) / 1024**2
    model = re.search(r"model name\s*: (.+)", processors)
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{filesystem(folder)} (where the databases are)",
        "commit": said("git", "log", "-1", "--format=%h: %s", "--", "src", "Cargo.lock"),
        "versions": ", ".join(said(*command) for command in tools),
    }


def filesystem(folder):
    """What the folder is on: the longest mount point above it."""
    path = pathlib.Path(folder).resolve()
    mounts = [line.split()[1:3] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    point, kind = max((mount for mount in mounts if path.is_relative_to(mount[0])), key=lambda mount: len(mount[0]))
    return kind


def said(*command):
    """The first line of what a command says, in few words."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return re.sub(r" \(.*| \[.*|Copyright.*|Version: ", " ", result.stdout.splitlines()[0]).strip()
