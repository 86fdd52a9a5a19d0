"""Describes the machine and the software versions of a benchmark."""

import datetime
import os
import pathlib
import platform
import re
import subprocess


def machine(folder, tools):
    """The facts about the machine, by name. `tools` are commands that print a version."""
    processors = pathlib.Path("/proc/cpuinfo").read_text()
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) / 1024**2
    model = re.search(r"model name\s*: (.+)", processors)
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{filesystem(folder)} (of the databases)",
        "commit": first_line("git", "log", "-1", "--format=%h: %s", "--", "src", "Cargo.lock"),
        "versions": ", ".join(first_line(*command) for command in tools),
    }


def filesystem(folder):
    """The file system of the folder: that of the longest mount point above it."""
    path = pathlib.Path(folder).resolve()
    mounts = [line.split()[1:3] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    point, kind = max((mount for mount in mounts if path.is_relative_to(mount[0])), key=lambda mount: len(mount[0]))
    return kind


def first_line(*command):
    """The first line of a command's output, shortened."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return re.sub(r" \(.*| \[.*|Copyright.*|Version: ", " ", result.stdout.splitlines()[0]).strip()
