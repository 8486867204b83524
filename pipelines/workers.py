"""What the workers of a run share: how they are stopped, and how they fail."""

import threading

stop_requested = threading.Event()
"""Set when the run is interrupted: workers in this process give up what they are making."""


class WorkerError(RuntimeError):
    """A worker could not do its part; the message is one line that the driver shows."""


def check_not_stopped() -> None:
    """Raises WorkerError when the run has been interrupted."""
    if stop_requested.is_set():
        raise WorkerError("interrupted")
