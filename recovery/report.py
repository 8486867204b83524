"""The report of a run: one HTML file that opens without a network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryotwin.imaging.atomic import atomic_output

Array = NDArray[np.floating]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class ReportContent:
    """What a report shows. What is not known stays None or empty and its figure is left out.

    Attributes:
        title: heading, such as "7cfn, 1,650 particles".
        command: the command line that was run.
        particles_source: where the particles came from.
        pixel_size_angstrom: pixel size of images and map.
        images_sample: (k, N, N) some of the images; up to 12 are shown.
        quaternions: (P, 4) the orientations found.
        volume: (N, N, N) the map.
        estimated_distances: (m,) rad, distances that the estimator gave for a sample of pairs.
        true_distances: (m,) rad, the true ones of the same pairs, when the truth is known.
        embedding_losses: (starts,) rad^2, the final loss of each start.
        embedding_loss: rad^2, of the start that was kept.
        embedding_trusted: whether the certificate holds.
        embedding_reason: the certificate in words.
        common_line: {"before": score, "after": score}.
        gauge_candidates: score of each candidate, {"as estimated": score, "transposed": score}.
        refinement_rounds: for each round {"round", "resolution_limit_angstrom",
            "mean_change_rad", "physical_error_rad" (or None)}.
        physical_errors: (P,) rad, when the truth is known.
        o4_error_rad: mean error after the paper's alignment, when the truth is known.
        fsc_half: (N // 2 + 1,) between the half maps.
        fsc_truth: (N // 2 + 1,) against the true map.
        resolutions: {"half_maps_0143": angstrom, "against_truth_05": angstrom}, None if unknown.
        mask_description: the mask of the curves, in words.
        seconds: by stage.
        versions: of the programs used.
        estimator: metadata of the estimator.
        settings: of the run.
        warnings: sentences to read first.
    """

    title: str
    command: str
    particles_source: str
    pixel_size_angstrom: float
    images_sample: Array
    quaternions: Array
    volume: Array
    estimated_distances: Array | None = None
    true_distances: Array | None = None
    embedding_losses: Array | None = None
    embedding_loss: float | None = None
    embedding_trusted: bool | None = None
    embedding_reason: str = ""
    common_line: Mapping[str, float] = field(default_factory=dict)
    gauge_candidates: Mapping[str, float] = field(default_factory=dict)
    refinement_rounds: Sequence[Mapping[str, Any]] = ()
    physical_errors: Array | None = None
    o4_error_rad: float | None = None
    fsc_half: Array | None = None
    fsc_truth: Array | None = None
    resolutions: Mapping[str, float | None] = field(default_factory=dict)
    mask_description: str = "no mask"
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    estimator: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


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
        loader=jinja2.FileSystemLoader(_TEMPLATES),
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
        counts={"particles": len(content.quaternions), "size": len(content.volume)},
        distances=_distance_figures(content),
        errors=content.physical_errors,
        total_seconds=sum(content.seconds.values()),
        slowest=max(content.seconds.values(), default=0.0),
        plotly_js=get_plotlyjs() if pictures["surface"] else "",
    )


def headline(content: ReportContent) -> list[Tile]:
    """Picks the key figures, the ones that are known."""
    size = content.volume.shape[-1]
    tiles = [
        Tile(
            "Particles",
            f"{len(content.quaternions):,}",
            f"{size} px wide, {content.pixel_size_angstrom:.3g} Å per pixel",
        )
    ]
    if content.embedding_trusted is not None:
        trusted = content.embedding_trusted
        loss = content.embedding_loss
        tiles.append(
            Tile(
                "Embedding",
                "trusted" if trusted else "not trusted",
                "" if loss is None else f"misfit {loss:.3g} rad²",
                "good" if trusted else "bad",
            )
        )
    tiles += _resolution_tiles(content)
    if "after" in content.common_line:
        before = content.common_line.get("before")
        tiles.append(
            Tile(
                "Common-line score",
                f"{content.common_line['after']:.3f}",
                "" if before is None else f"{before:.3f} before the gauge step",
            )
        )
    if content.physical_errors is not None:
        errors = np.asarray(content.physical_errors)
        tiles.append(
            Tile(
                "Physical error",
                f"{errors.mean():.3f} rad",
                f"mean, {np.rad2deg(errors.mean()):.1f}°; median {np.median(errors):.3f} rad",
            )
        )
    tiles.append(Tile("Handedness", "unknown", "the map may be the mirror image"))
    return tiles


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


def _charts(content: ReportContent) -> dict[str, str]:
    """Draws the charts whose data are known, as data URIs."""
    from cryotwin.recovery import report_figures as figures

    charts = {"directions": figures.viewing_directions(content.quaternions)}
    estimated, true = content.estimated_distances, content.true_distances
    if estimated is not None and len(estimated):
        charts["distances"] = (
            figures.distances_alone(estimated)
            if true is None
            else figures.distances_against_truth(estimated, true)
        )
    if content.embedding_losses is not None and len(content.embedding_losses):
        charts["embedding"] = figures.embedding_losses(np.asarray(content.embedding_losses))
    if content.common_line or content.gauge_candidates:
        charts["gauge"] = figures.common_line_scores(content.common_line, content.gauge_candidates)
    if content.refinement_rounds:
        charts["steps"] = figures.refinement_steps(content.refinement_rounds)
        charts["limits"] = figures.refinement_limits(content.refinement_rounds)
    if content.physical_errors is not None:
        charts["errors"] = figures.physical_errors(np.asarray(content.physical_errors))
    if content.fsc_half is not None or content.fsc_truth is not None:
        charts["fsc"] = figures.shell_correlations(
            content.fsc_half, content.fsc_truth, content.pixel_size_angstrom, len(content.volume)
        )
    return {name: figures.as_svg(figure) for name, figure in charts.items()}


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
