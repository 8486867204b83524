"""The report's chart of viewing directions: on the sphere, or on a part of it under symmetry."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryotwin.imaging.point_groups import parse_point_group, symmetry_matrices
from cryotwin.imaging.rotations import quaternions_to_matrices
from cryotwin.recovery.report_figures import GREY, INK, chart_axes

Array = NDArray[np.floating]

_SAMPLE = 4000
_GRID = 130
_WIDTHS = 4.0
"""Widths of the kernel beyond which a particle counts for nothing."""

_PER_KERNEL = 25
"""Particles that the kernel of the density holds on average, with their copies."""


def viewing_directions(quaternions: Array, *, symmetry: str = "C1") -> Figure:
    """Draws the density of viewing directions, over that of even views.

    Without symmetry it is drawn on the whole sphere. Under a point group every direction has
    equivalent ones; the part of the sphere that holds one of each is drawn.

    Args:
        quaternions: orientations (P, 4).
        symmetry: point group of the particle.
    """
    directions = quaternions_to_matrices(quaternions)[:, 2]
    if parse_point_group(symmetry) == "C1":
        return _draw_sphere(_cells(directions))
    return _draw_domain(directions, symmetry_matrices(symmetry))


def domain_centre(group: Array) -> Array:
    """Gives the direction (3,) that is farthest from its own copies under a group (G, 3, 3)."""
    candidates = _even_directions(4000)
    nearest = np.full(len(candidates), -1.0)
    for turn in group[1:]:
        nearest = np.maximum(nearest, np.einsum("kc,kc->k", candidates @ turn, candidates))
    best = candidates[nearest <= nearest.min() + 0.01]
    centre: Array = best[np.argmax(best.sum(axis=1))]  # of equal ones the one towards +x, +y, +z
    return centre


def domain_margin(directions: Array, centre: Array, group: Array) -> Array:
    """Gives by how much directions (..., 3) are nearer to `centre` (3,) than all their copies are.

    It is a difference of cosines, positive in the part of the sphere about the centre that holds
    one of each under the group (G, 3, 3), and 0 on its border.
    """
    copies = group[1:] @ centre
    margin: Array = directions @ centre - (directions @ copies.T).max(axis=-1)
    return margin


def direction_density(directions: Array, group: Array, grid: Array) -> Array:
    """Estimates the density of directions (P, 3) and their copies at `grid` (k, 3).

    Returns:
        The density (k,), 1 where views are even.
    """
    sample = directions[:: -(-len(directions) // _SAMPLE)]
    copies = np.concatenate([sample @ turn for turn in group])
    # A von Mises-Fisher kernel covers about 4 pi / (2 k) of the sphere.
    concentration = max(8.0, len(copies) / (2 * _PER_KERNEL))
    even = len(copies) * (1 - np.exp(-2 * concentration)) / (2 * concentration)
    middle = grid.mean(axis=0)
    reach = np.arccos(np.clip((grid @ middle).min() / np.linalg.norm(middle), -1, 1))
    near = min(np.pi, reach + _WIDTHS / np.sqrt(concentration))
    copies = copies[copies @ middle >= np.cos(near) * np.linalg.norm(middle)]
    density = np.zeros(len(grid))
    for start in range(0, len(copies), 2000):
        cosines = grid @ copies[start : start + 2000].T
        density += np.exp(concentration * (cosines - 1)).sum(axis=1)
    return density / even


def _draw_domain(directions: Array, group: Array) -> Figure:
    """Draws one copy of the sphere's part, seen from above its middle, areas kept (Lambert)."""
    centre = domain_centre(group)
    east, north = _plane(centre)
    reach = 1.05 * _reach(centre, group)
    axis = np.linspace(-reach, reach, _GRID)
    x, y = np.meshgrid(axis, axis)
    grid = _from_lambert(x, y, centre, east, north)
    margin = np.where(x**2 + y**2 < 4, domain_margin(grid, centre, group), -1.0)
    inside = margin > 0
    density = direction_density(directions, group, grid[inside])
    values = np.full(x.shape, np.nan)
    values[inside] = density
    with chart_axes(4.0) as (figure, axes):
        top = max(2.0, float(np.percentile(density, 99)))
        mesh = axes.pcolormesh(
            x, y, values, cmap="Blues", vmin=0, vmax=top, shading="nearest", rasterized=True
        )
        axes.contour(x, y, margin, [0.0], colors=[INK], linewidths=1.2)
        _mark_axes(axes, centre, east, north, reach)
        axes.set_aspect("equal")
        axes.axis("off")
        bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", shrink=0.6, pad=0.04)
        bar.set_label("particles over even share (1 = even)")
    return figure


def _mark_axes(axes: Axes, centre: Array, east: Array, north: Array, reach: float) -> None:
    for name, row in (("x", 0), ("y", 1), ("z", 2)):
        for sign in (1, -1):
            direction = sign * np.eye(3)[row]
            if direction @ centre < -0.2:
                continue
            x, y = _to_lambert(direction, centre, east, north)
            if max(abs(x), abs(y)) < reach:
                axes.plot(x, y, "o", color=INK, ms=3)
                label = f"{'+' if sign > 0 else '-'}{name}"
                axes.annotate(label, (x, y), xytext=(4, 3), textcoords="offset points")


def _plane(centre: Array) -> tuple[Array, Array]:
    """Gives the directions to the right and up on a map about `centre`, z up."""
    up = np.array([0.0, 0, 1]) if abs(centre[2]) < 0.99 else np.array([0.0, 1, 0])
    east = np.cross(up, centre)
    east /= np.linalg.norm(east)
    return east, np.cross(centre, east)


def _reach(centre: Array, group: Array) -> float:
    directions = _even_directions(6000)
    inside = directions[domain_margin(directions, centre, group) > 0]
    farthest = float(np.arccos(np.clip((inside @ centre).min(), -1, 1)))
    return float(2 * np.sin(farthest / 2))


def _to_lambert(direction: Array, centre: Array, east: Array, north: Array) -> tuple[float, float]:
    scale = np.sqrt(2 / max(1 + float(direction @ centre), 1e-9))
    return float(scale * (direction @ east)), float(scale * (direction @ north))


def _from_lambert(x: Array, y: Array, centre: Array, east: Array, north: Array) -> Array:
    """Gives the directions (..., 3) at places of the map; beyond its rim anything."""
    square = np.minimum(x**2 + y**2, 4)
    scale = np.sqrt(np.maximum(1 - square / 4, 0))
    found: Array = (
        (scale * x)[..., None] * east
        + (scale * y)[..., None] * north
        + (1 - square / 2)[..., None] * centre
    )
    return found


def _even_directions(count: int) -> Array:
    """Gives directions (count, 3) spread evenly along a spiral."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    radius = np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=-1)


def _cells(directions: Array) -> list[tuple[float, float, Array, Array]]:
    """Counts directions (P, 3) in bands of latitude, cut into nearly equal cells.

    Returns:
        For each band its edges in rad, the borders of its cells, and in each the particles over
        those that it would have if all directions were alike.
    """
    latitude = np.arcsin(np.clip(directions[:, 2], -1, 1))
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    bands = int(np.clip(np.sqrt(np.pi * len(directions) / 48), 4, 18))
    edges = np.linspace(-np.pi / 2, np.pi / 2, bands + 1)
    cells = []
    for low, high in pairwise(edges):
        across = max(3, round(2 * bands * np.cos((low + high) / 2)))
        inside = (latitude >= low) & ((latitude < high) | (high == edges[-1]))
        counts, borders = np.histogram(longitude[inside], bins=across, range=(-np.pi, np.pi))
        share = (np.sin(high) - np.sin(low)) / (2 * across)
        cells.append((low, high, borders, counts / (share * len(directions))))
    return cells


def _draw_sphere(cells: list[tuple[float, float, Array, Array]]) -> Figure:
    top = max(2.0, float(np.percentile(np.concatenate([density for *_, density in cells]), 98)))
    with chart_axes(3.2) as (figure, axes):
        for low, high, borders, density in cells:
            fine = np.linspace(low, high, 6)
            x, y = _mollweide(borders[None, :], fine[:, None])
            values = np.repeat(density[None, :], len(fine) - 1, axis=0)
            mesh = axes.pcolormesh(
                x, y, values, cmap="Blues", vmin=0, vmax=top, shading="flat", rasterized=True
            )
        turn = np.linspace(-np.pi / 2, np.pi / 2, 181)
        for longitude in np.deg2rad([-180, -90, 0, 90, 180]):
            x, y = _mollweide(np.full(turn.shape, longitude), turn)
            edge = abs(longitude) > 3
            axes.plot(x, y, color=INK if edge else GREY, lw=1.0 if edge else 0.5)
        for latitude in np.deg2rad([-45, 0, 45]):
            x, y = _mollweide(2 * turn, np.full(turn.shape, latitude))
            axes.plot(x, y, color=GREY, lw=0.5)
        axes.annotate("+z", (0, np.sqrt(2)), xytext=(0, 3), textcoords="offset points", ha="center")
        axes.annotate("+x", (0, 0), xytext=(3, 3), textcoords="offset points")
        axes.annotate("+y", (np.sqrt(2), 0), xytext=(3, 3), textcoords="offset points")
        axes.set_aspect("equal")
        axes.axis("off")
        bar = figure.colorbar(mesh, ax=axes, orientation="horizontal", shrink=0.6, pad=0.04)
        bar.set_label("particles over even share (1 = even)")
    return figure


def _mollweide(longitude: Array, latitude: Array) -> tuple[Array, Array]:
    """Projects the sphere on an ellipse of equal area (auxiliary angle by Newton's method)."""
    longitude, latitude = np.broadcast_arrays(longitude, latitude)
    angle = np.array(latitude, dtype=np.float64)
    for _ in range(60):
        slope = 2 + 2 * np.cos(2 * angle)
        step = (2 * angle + np.sin(2 * angle) - np.pi * np.sin(latitude)) / np.maximum(slope, 1e-9)
        angle = np.clip(angle - step, -np.pi / 2, np.pi / 2)
    root: float = np.sqrt(2)
    return 2 * root / np.pi * longitude * np.cos(angle), root * np.sin(angle)
