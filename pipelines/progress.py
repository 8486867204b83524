"""Progress bars, on terminals only."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_POLL_S = 0.5


@contextmanager
def stages(count: int) -> Iterator[Callable[[str], None]]:
    """Gives a function that names the stage that begins, of about `count` in all.

    A name with a share, as "features (40%)", tells how far the stage has come that is under way.
    """
    from tqdm import tqdm

    with tqdm(
        total=count, bar_format="{l_bar}{bar}| {elapsed} {desc}", leave=False, disable=None
    ) as bar:

        def step(text: str) -> None:
            same_stage = text.endswith("%)")
            bar.set_description_str(text, refresh=same_stage)
            if not same_stage:
                bar.update(min(1, count - bar.n))

        yield step


@contextmanager
def following(total: int, unit: str, title: str, measure: Callable[[], int]) -> Iterator[None]:
    """Shows how far others have come, of `total`, as `measure` tells every now and then."""
    from tqdm import tqdm

    done = threading.Event()
    with tqdm(total=total, unit=f" {unit}", desc=title, disable=None, leave=False) as bar:

        def follow() -> None:
            while not done.wait(_POLL_S):
                bar.update(min(total, measure()) - bar.n)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()
