"""A progress bar over the stages of a command, on terminals only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stages(count: int) -> Iterator[Callable[[str], None]]:
    """Gives a function that names the stage that begins, of about `count` in all."""
    from tqdm import tqdm

    with tqdm(
        total=count, bar_format="{l_bar}{bar}| {elapsed} {desc}", leave=False, disable=None
    ) as bar:

        def step(text: str) -> None:
            bar.set_description_str(text, refresh=False)
            bar.update(min(1, count - bar.n))

        yield step
