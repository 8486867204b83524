"""The report as a browser shows it: headless Chromium, where there is one."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from cryotwin.recovery.report import render_report

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

SPY = """<script>
const seen = {errors: [], refused: []};
const note = (list, what) => list.push(String(what));
addEventListener("error", e => note(seen.errors, e.message || e.target.src), true);
addEventListener("unhandledrejection", e => note(seen.errors, e.reason));
document.addEventListener("securitypolicyviolation", e => note(seen.refused, e.blockedURI));
addEventListener("load", () => setTimeout(() => {
  seen.loaded = performance.getEntriesByType("resource").map(e => e.name.slice(0, 60));
  seen.broken = [...document.images].filter(i => !i.naturalWidth).length;
  seen.pictures = document.images.length;
  seen.wide = document.documentElement.scrollWidth - window.innerWidth;
  document.documentElement.dataset.seen = JSON.stringify(seen);
}, 1500));
</script>"""
"""Goes before all else in the page, and writes what happened into it."""


def opened(html: str, folder, width: int = 1200) -> tuple[str, dict, str]:
    """Opens a page: the document afterwards, what the spy saw, and what the console said."""
    page = folder / "report.html"
    page.write_text(html.replace("<style>", SPY + "<style>", 1), encoding="utf-8")
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--disable-background-networking", "--no-first-run", f"--user-data-dir={folder}/profile"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
        *(f"--window-size={width},1000", "--virtual-time-budget=8000", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    seen = re.search(r'data-seen="(.*?)"', done.stdout)
    assert seen is not None, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, json.loads(seen.group(1).replace("&quot;", '"')), "\n".join(console)


def full_content(some_content, **changes):
    """All that a report can show, under a point group."""
    content = some_content()
    rng = np.random.default_rng(1)
    count = len(content.quaternions)
    half = content.curves["half maps, masked"]
    return some_content(
        symmetry="D2",
        notes=["the images are resampled for the estimator"],
        defocus_angstrom=rng.uniform(1e4, 3e4, count),
        microscope={"voltage": "300 kV", "Cs": "2.7 mm"},
        shifts_angstrom=rng.normal(0, 3, (count, 2)),
        searched_shift_angstrom=10.0,
        confidence=rng.uniform(0, 1, count),
        doubtful_below=0.1,
        left_out=3,
        doubtful_images=content.images_sample,
        flip_command="cryotwin recover --flip-hand",
        curves=content.curves
        | {
            "half maps, no mask": half * 0.9,
            "half maps, phases randomised": half * 0.1,
            "half maps, corrected": half * 0.95,
            "half maps, in a sphere": half * 0.92,
            "against the truth, in a sphere": half * 0.8,
        },
        resolution_rows=[
            {"what": "half maps", "criterion": "0.143", "mask": "soft sphere", "angstrom": 9.9},
            {"what": "half maps", "criterion": "0.143", "mask": "none", "angstrom": 12.0},
        ],
        next_steps=[("Refine (RELION)", "relion_refine --i orientations.star")],
        **changes,
    )


@pytest.mark.parametrize("width", [1200, 400])
def test_the_whole_report_opens_without_errors_or_requests(some_content, tmp_path, width):
    document, seen, console = opened(render_report(full_content(some_content)), tmp_path, width)
    assert seen["errors"] == []
    assert seen["refused"] == []
    assert [name for name in seen["loaded"] if not name.startswith("data:")] == []
    assert "Uncaught" not in console
    assert "Refused" not in console
    assert seen["broken"] == 0
    assert seen["pictures"] > 25
    assert seen["wide"] <= 0  # nothing to scroll sideways for
    for figure in (
        "9.9 Å",
        "not found",  # symmetry: given, not found
        "Left out as junk",
        "3 of the 80 images are left out of the maps",
        "cryotwin recover --flip-hand",
        "relion_refine --i orientations.star",
        "voltage 300 kV",
        "random phases",
    ):
        assert figure in document, figure


def test_a_report_of_little_opens_too(some_content, tmp_path):
    content = some_content(truth=False, curves={}, refinement_rounds=(), common_line={})
    document, seen, console = opened(render_report(content), tmp_path)
    assert seen["errors"] == seen["refused"] == []
    assert seen["broken"] == 0
    assert "Uncaught" not in console
    assert "No half maps were made in this run." in document


def test_the_spy_sees_what_it_is_there_for(some_content, tmp_path):
    html = render_report(some_content()).replace(
        "</main>",
        '<img src="https://example.invalid/a.png"><script>throw new Error("told")</script></main>',
    )
    _, seen, _ = opened(html, tmp_path)
    assert any("told" in error for error in seen["errors"])
    assert any("example.invalid" in address for address in seen["refused"])
