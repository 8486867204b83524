import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cryotwin.recovery.report import headline, render_report, write_report
from cryotwin.recovery.report_content import ReportContent
from cryotwin.recovery.report_map import isosurface, low_pass, particle_density, shaded_views

SECTIONS = (
    "1 Particles",
    "2 Distances",
    "3 Embedding",
    "4 Gauge",
    "5 Refinement",
    "6 Confidence",
    "7 Views",
    "8 The map",
    "9 Resolution",
    "10 How to go on",
    "11 What was run",
)


def blobs(size, centres, width=2.0):
    """A map (size, size, size) of Gaussians at `centres`, (x, y, z) from the origin voxel."""
    axis = np.arange(size) - size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    squares = [(x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 for cx, cy, cz in centres]
    return sum(np.exp(-square / (2 * width**2)) for square in squares).astype(np.float32)


@pytest.fixture(scope="module")
def with_truth(some_content):
    return render_report(some_content())


@pytest.fixture(scope="module")
def without_truth(some_content):
    return render_report(some_content(truth=False))


class Tags(HTMLParser):
    """Checks that elements close in order, and collects what they link to."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids, self.pictures = [], [], set(), []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("src", "href", "srcset", "action") if name in found]
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "img":
            self.pictures.append(found)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    tags = Tags()
    tags.feed(html)
    tags.close()
    assert tags.open == []
    return tags


def text_of(html):
    without_code = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", without_code).split())


@pytest.mark.parametrize("report", ["with_truth", "without_truth"])
def test_the_report_has_every_section_and_parses(report, request):
    html = request.getfixturevalue(report)
    tags = parsed(html)
    headings = [" ".join(h.split()) for h in re.findall(r"<h2>(.*?)</h2>", html)]
    assert [h.startswith(s) for h, s in zip(headings, SECTIONS, strict=True)] == [True] * 11
    anchors = {link[1:] for link in tags.links if link.startswith("#")}
    assert anchors == tags.ids & anchors


@pytest.mark.parametrize("report", ["with_truth", "without_truth"])
def test_the_report_loads_nothing_from_elsewhere(report, request):
    html = request.getfixturevalue(report)
    assert all(link.startswith(("data:", "#")) for link in parsed(html).links)
    assert not re.search(r"@import|url\(\s*['\"]?(http|//)", html.split("<body>")[0])
    assert "default-src 'none'" in html
    assert html.count("plotly.js v") == 1
    assert len(html) < 8e6


def test_every_picture_is_whole_and_described(with_truth):
    pictures = parsed(with_truth).pictures
    assert len(pictures) >= 8 + 4 + 9
    for picture in pictures:
        assert picture["alt"]
        kind, _, data = picture["src"].partition(";base64,")
        content = base64.b64decode(data, validate=True)
        start = {"data:image/png": b"\x89PNG", "data:image/svg+xml": b"<?xml"}[kind]
        assert content.startswith(start)


def test_errors_against_the_truth_are_shown_only_when_it_is_known(with_truth, without_truth):
    for words in ("Physical error", "O(4) error", "Against the truth", "Errors against the truth"):
        assert words in text_of(with_truth)
        assert words not in text_of(without_truth)


def test_the_report_says_that_handedness_is_unknown(with_truth, without_truth):
    for html in (with_truth, without_truth):
        text = text_of(html)
        assert "Handedness unknown" in text
        assert "no procedure can tell from projections alone" in text


def test_text_from_outside_is_escaped(with_truth):
    assert "A &lt;bold&gt; title &amp; more" in with_truth
    assert "<bold>" not in with_truth
    assert "a &lt;b&gt;" in with_truth


def test_the_verdict_stands_at_the_top(some_content):
    moods = {tile.name: (tile.value, tile.mood) for tile in headline(some_content())}
    assert moods["Embedding"] == ("trusted", "good")
    moods = {tile.name: (tile.value, tile.mood) for tile in headline(some_content(truth=False))}
    assert moods["Embedding"] == ("not trusted", "bad")
    assert moods["Resolution, half maps"] == ("9.9 Å", "")
    assert "Physical error" not in moods


def test_a_report_of_the_least_that_can_be_known_is_written(tmp_path):
    content = ReportContent(
        title="bare",
        command="cryotwin recover",
        particles_source="a.mrcs",
        pixel_size_angstrom=1.0,
        images_sample=np.zeros((1, 8, 8)),
        quaternions=np.array([[1.0, 0, 0, 0]]),
        volume=np.zeros((8, 8, 8), np.float32),
    )
    write_report(tmp_path / "report.html", content)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed(html)
    assert "no density" in html
    assert "plotly.js v" not in html


def test_a_report_that_fails_leaves_the_old_one(some_content, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match=r".+"):
        write_report(path, some_content(volume=np.zeros((2, 3))))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_surface_in_the_report_is_plotlys_mesh(with_truth):
    data = re.search(r'id="surface-data">(.*?)</script>', with_truth, re.S).group(1)
    figure = json.loads(data)
    assert [trace["type"] for trace in figure["data"]] == ["mesh3d"]


def test_the_isosurface_of_a_blob_is_a_sphere_at_its_place():
    density = blobs(33, [(4, -3, 2)], width=4.0)
    level = float(np.exp(-0.5))  # one width from the centre
    surface = isosurface(density, level, 2.0)
    radii = np.linalg.norm(surface.vertices_angstrom - 2.0 * np.array([4, -3, 2]), axis=1)
    np.testing.assert_allclose(radii, 8.0, atol=0.2)
    assert isosurface(density, 2.0, 1.0) is None


def test_a_low_pass_keeps_coarse_waves_and_takes_out_fine_ones():
    x = np.arange(32)
    coarse = np.broadcast_to(np.cos(2 * np.pi * 2 * x / 32), (32, 32, 32))
    fine = np.broadcast_to(np.cos(2 * np.pi * 12 * x / 32), (32, 32, 32))
    np.testing.assert_allclose(low_pass(coarse + fine, 5.0), coarse, atol=1e-5)


def test_specks_of_noise_are_no_part_of_the_surface():
    volume = blobs(32, [(0, 0, 0)], width=4.0) + blobs(32, [(11, 0, 0)], width=1.0)
    density, level = particle_density(volume, 2.0)
    assert density[16, 16, 16] > level
    assert density[16, 16, 27] <= level


def test_the_views_of_the_surface_are_not_mirrored():
    # A long arm to +x, a shorter one to +y, and a knob at +z.
    density = blobs(32, [(i, 0, 0) for i in range(9)] + [(0, i, 0) for i in range(6)])
    density += blobs(32, [(0, 0, 4)])
    views = shaded_views(density, 0.5)

    def reach(view):
        """How far the body goes to the right, left, up and down of the centre."""
        rows, columns = np.nonzero(view[..., 3] > 0.5)
        middle = (len(view) - 1) / 2
        return (
            columns.max() - middle,
            middle - columns.min(),
            middle - rows.min(),
            rows.max() - middle,
        )

    for side, right_and_up in {"+z": (8, 5), "-y": (8, 4), "+x": (5, 4)}.items():
        right, left, up, down = reach(views[side])
        assert right > 1.3 * left, side
        assert up > 1.3 * down, side
        assert right / up == pytest.approx((right_and_up[0] + 2) / (right_and_up[1] + 2), rel=0.15)


def test_what_is_nearer_to_the_viewer_hides_what_is_behind():
    near_is_wide = blobs(32, [(0, 0, 6)], width=3.0) + blobs(32, [(0, 0, -6)], width=1.5)
    view = shaded_views(near_is_wide, 0.5)["+z"]
    # Nearer is brighter: seen from +z the knob at +z is, from the other side it would not be.
    flipped = shaded_views(near_is_wide[::-1].copy(), 0.5)["+z"]
    middle = len(view) // 2
    assert view[middle, middle, :3].sum() > flipped[middle, middle, :3].sum()
