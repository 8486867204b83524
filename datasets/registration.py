"""Makes our tfds dataset known when tensorflow-datasets is imported, and no sooner.

`import cryotwin.datasets` takes milliseconds and `import tensorflow_datasets` a third of a second
and more, on top of which every command would wait. So the import of tfds is waited for, with the
hook that Python has for it: a finder in `sys.meta_path` that lets the others find the module and
adds a step after it has run.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_TFDS = "tensorflow_datasets"
_BUILDERS = "cryotwin.datasets.cryotwin_projections.cryotwin_projections_dataset_builder"


def register_with_tfds() -> None:
    """Registers our builder: at once if tfds is imported already, else when it is."""
    if _TFDS in sys.modules:
        _import_builders()
    elif not any(isinstance(finder, _TfdsWatch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TfdsWatch())


def _import_builders() -> None:
    """Imports the builder; tfds registers a class when it is defined."""
    importlib.import_module(_BUILDERS)


class _TfdsWatch(MetaPathFinder):
    """Finds nothing itself; sees to it that builders are imported after tfds has been."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Gives the spec of tfds as the other finders have it, and None for all other modules."""
        if fullname != _TFDS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                _import_builders()

            # On this one loader, so that it stays what others expect it to be.
            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec
