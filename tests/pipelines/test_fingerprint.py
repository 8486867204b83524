"""What a run that goes on is recognised by."""

from importlib.metadata import version

from cryotwin.pipelines import fingerprint
from cryotwin.pipelines.generate_settings import GenerateSettings
from cryotwin.pipelines.subjects import Grid


def test_a_package_that_is_not_installed_is_no_obstacle(monkeypatch):
    monkeypatch.setattr(fingerprint, "_VERSIONS_OF", ("numpy", "no-such-package"))
    found = fingerprint.run_fingerprint([], Grid(), GenerateSettings())
    assert found["versions"] == {"numpy": version("numpy"), "no-such-package": None}
