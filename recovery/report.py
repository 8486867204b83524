"""The report of a run: one HTML file that opens without a network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryotwin.imaging.atomic import atomic_output
from cryotwin.imaging.fundamental_domain import domain_radius
from cryotwin.imaging.randomness import keyed_generator
from cryotwin.imaging.rotations import pairwise_distances, uniform_quaternions
from cryotwin.recovery.report_content import ReportContent

_EVEN_VIEWS = 500
TEMPLATES = Path(__file__).parent / "templates"
"""Of the report; its page_style.css serves other pages too."""


@dataclass(frozen=True)
class Tile:
    """One key figure at the top: its name, value, a remark, and "good", "bad" or ""."""

    name: str
    value: str
    remark: str
    mood: str = ""


def write_report(path: str | Path, content: ReportContent) -> None:
    """Writes the report as one self-contained HTML file, whole or not at all."""
    html = render_report(content)
    with atomic_output(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render_report(content: ReportContent) -> str:
    """Gives the report's HTML: pictures and scripts inline, no link to anything outside."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["value"] = format_value
    environment.filters["angle"] = format_angle
    environment.filters["stretch"] = format_seconds
    charts, pictures = _charts(content), _pictures(content)
    return environment.get_template("report.html.j2").render(
        content=content,
        tiles=headline(content),
        charts=charts,
        pictures=pictures,
        curves=_kinds_of_curves(content),
        doubtful=_count_doubtful(content),
        farthest=domain_radius(content.symmetry),
        counts={"particles": len(content.quaternions), "size": len(content.volume)},
        distances=_distance_figures(content),
        errors=content.physical_errors,
        total_seconds=sum(content.seconds.values()),
        slowest=max(content.seconds.values(), default=0.0),
        plotly_js=get_plotlyjs() if pictures["surface"] else "",
    )


def _kinds_of_curves(content: ReportContent) -> dict[str, bool]:
    names = " ".join(content.curves)
    return {kind: kind in names for kind in ("half", "truth", "randomised")}


def _count_doubtful(content: ReportContent) -> int:
    if content.confidence is None:
        return 0
    return int((np.asarray(content.confidence) < content.doubtful_below).sum())


def headline(content: ReportContent) -> list[Tile]:
    """Picks the key figures, the ones that are known."""
    size = content.volume.shape[-1]
    tiles = [
        Tile(
            "Particles",
            f"{len(content.quaternions):,}",
            f"{size} px wide, {content.pixel_size_angstrom:.3g} Å per pixel",
        ),
        *_embedding_tile(content),
        *_resolution_tiles(content),
        *_common_line_tile(content),
        *_confidence_tile(content),
    ]
    if content.physical_errors is not None:
        errors = np.asarray(content.physical_errors)
        tiles.append(
            Tile(
                "Physical error",
                f"{errors.mean():.3f} rad",
                f"mean, {np.rad2deg(errors.mean()):.1f}°; median {np.median(errors):.3f} rad",
            )
        )
    if content.symmetry != "C1":
        tiles.append(Tile("Symmetry", content.symmetry, "given, not found"))
    tiles.append(Tile("Handedness", "unknown", "the map may be the mirror image"))
    return tiles


def _embedding_tile(content: ReportContent) -> list[Tile]:
    if content.embedding_trusted is None:
        return []
    trusted, loss = content.embedding_trusted, content.embedding_loss
    return [
        Tile(
            "Embedding",
            "trusted" if trusted else "not trusted",
            "" if loss is None else f"misfit {loss:.3g} rad²",
            "good" if trusted else "bad",
        )
    ]


def _resolution_tiles(content: ReportContent) -> list[Tile]:
    named = (
        ("half_maps_0143", "Resolution, half maps", "FSC 0.143"),
        ("against_truth_05", "Resolution, truth", "FSC 0.5"),
    )
    tiles = []
    for key, name, criterion in named:
        value = content.resolutions.get(key)
        if value is not None:
            tiles.append(Tile(name, f"{value:.1f} Å", f"{criterion}; {content.mask_description}"))
    return tiles


def _common_line_tile(content: ReportContent) -> list[Tile]:
    if "after" not in content.common_line:
        return []
    before = content.common_line.get("before")
    remark = "" if before is None else f"{before:.3f} before the gauge step"
    return [Tile("Common-line score", f"{content.common_line['after']:.3f}", remark)]


def _confidence_tile(content: ReportContent) -> list[Tile]:
    if content.left_out is None:
        return []
    share = content.left_out / len(content.quaternions)
    return [Tile("Left out as junk", f"{content.left_out:,}", f"images, {share:.1%} of all")]


def _charts(content: ReportContent) -> dict[str, str]:
    """Draws the charts whose data are known, as data URIs."""
    from cryotwin.recovery import report_figures as figures
    from cryotwin.recovery.report_directions import viewing_directions

    charts = {"directions": viewing_directions(content.quaternions, symmetry=content.symmetry)}
    estimated, true = content.estimated_distances, content.true_distances
    if estimated is not None and len(estimated):
        charts["distances"] = (
            figures.distances_alone(estimated, _distances_of_all_views(content.symmetry))
            if true is None
            else figures.distances_against_truth(estimated, true)
        )
    if content.defocus_angstrom is not None:
        charts["defocus"] = figures.defocus(np.asarray(content.defocus_angstrom))
    if content.embedding_losses is not None and len(content.embedding_losses):
        charts["embedding"] = figures.embedding_losses(np.asarray(content.embedding_losses))
    if content.common_line or content.gauge_candidates:
        charts["gauge"] = figures.common_line_scores(content.common_line, content.gauge_candidates)
    if content.refinement_rounds:
        charts["steps"] = figures.refinement_steps(content.refinement_rounds)
        charts["limits"] = figures.refinement_limits(content.refinement_rounds)
    if content.shifts_angstrom is not None and np.any(content.shifts_angstrom):
        charts["shifts"] = figures.shifts(
            np.asarray(content.shifts_angstrom), content.searched_shift_angstrom
        )
    if content.physical_errors is not None:
        charts["errors"] = figures.physical_errors(np.asarray(content.physical_errors))
    if content.confidence is not None:
        charts["confidence"] = figures.confidences(
            np.asarray(content.confidence), content.doubtful_below
        )
    known = [(name, content.curves[name]) for name in figures.CURVES if name in content.curves]
    if known:
        against_truth = any("half maps" not in name for name, _ in known)
        thresholds = [0.143, 0.5] if against_truth else [0.143]
        charts["fsc"] = figures.shell_correlations(
            known, thresholds, content.pixel_size_angstrom, len(content.volume)
        )
    return {name: figures.as_svg(figure) for name, figure in charts.items()}


def _distances_of_all_views(symmetry: str) -> Any:
    """Gives the distances (m,) in rad of views from all sides alike under a point group."""
    quaternions = uniform_quaternions(_EVEN_VIEWS, keyed_generator(0, "views from all sides"))
    distances = pairwise_distances(quaternions, symmetry=symmetry)
    return distances[np.triu_indices(_EVEN_VIEWS, 1)]


def _pictures(content: ReportContent) -> dict[str, Any]:
    from cryotwin.recovery import report_map
    from cryotwin.recovery.report_figures import colour_picture

    # Without half maps, four pixels are as fine as a surface is worth looking at.
    resolution = content.resolutions.get("half_maps_0143") or 4 * content.pixel_size_angstrom
    density, level = report_map.particle_density(
        content.volume, resolution / content.pixel_size_angstrom
    )
    surface = report_map.isosurface(density, level, content.pixel_size_angstrom)
    return {
        "particles": report_map.particle_pictures(content.images_sample[:12]),
        "doubtful": []
        if content.doubtful_images is None
        else report_map.particle_pictures(content.doubtful_images[:6]),
        "slices": report_map.slice_pictures(content.volume),
        "projections": report_map.projection_pictures(content.volume),
        "views": {
            side: colour_picture(view)
            for side, view in report_map.shaded_views(density, level).items()
        },
        "surface": None if surface is None else surface_json(surface),
    }


def surface_json(surface: Any) -> str:
    """Gives an isosurface as plotly's JSON, safe inside a <script> element."""
    import plotly.graph_objects as go

    x, y, z = surface.vertices_angstrom.T
    index = np.uint16 if len(x) < 2**16 else np.uint32
    i, j, k = surface.faces.T.astype(index)
    mesh = go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, color="#8fb8d8", flatshading=False, hoverinfo="skip",
        lighting={"ambient": 0.35, "diffuse": 0.8, "specular": 0.15, "roughness": 0.7},
        lightposition={"x": -1e4, "y": 1e4, "z": 2e4},
    )  # fmt: skip
    hidden = {"visible": False}
    layout = {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "scene": {"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"},
        "paper_bgcolor": "rgba(0,0,0,0)",
    }
    figure = go.Figure(mesh, go.Layout(layout, template="none"))
    text: str = figure.to_json()
    return text.replace("</", "<\\/")


def _distance_figures(content: ReportContent) -> dict[str, float]:
    """Gives the bias, scatter and correlation of the distances where the truth is known."""
    if content.true_distances is None or content.estimated_distances is None:
        return {}
    estimated, true = np.asarray(content.estimated_distances), np.asarray(content.true_distances)
    if len(true) < 2:
        return {}
    error = estimated - true
    return {
        "bias": float(error.mean()),
        "rms": float(np.sqrt(np.mean(error**2))),
        "correlation": float(np.corrcoef(estimated, true)[0, 1]),
    }


def format_angle(radians: float) -> str:
    """Writes an angle in radians and degrees."""
    return f"{radians:.3f} rad ({math.degrees(radians):.1f}°)"


def format_seconds(seconds: float) -> str:
    """Writes a duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_value(value: Any) -> str:
    """Writes a setting or a piece of metadata, nested ones on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {format_value(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(format_value(part) for part in value)
    return str(value)
