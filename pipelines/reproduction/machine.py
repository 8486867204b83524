"""The kind of machine that a number was measured on."""

import os
from pathlib import Path


def machine() -> str:
    """Names the processor and how many threads a process may use."""
    model = "an unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
    return f"{threads} thread{'s' * (threads != '1')} of {model} ({os.cpu_count()} cores)"
