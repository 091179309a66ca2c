"""The healthy chest as path lengths: mm of soft tissue, of lung and of bone that each ray of a frontal X-ray meets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from sample_data.projection import Array, Projection
from sample_data.texture import correlated, enlarge, smooth
from sample_data.thorax import CAVITY_POWER, Thorax
from sample_data.volume import coverage

LUNG_DENSITY = 0.24  # of an inflated lung relative to water


@dataclass
class Paths:
    """Maps (H, W) in mm. `soft` counts all that is not air as water; `lung` is the part of it that is aerated."""

    soft: Array
    lung: Array
    bone: Array


def project(thorax: Thorax, view: Projection, portable: bool, rng: np.random.Generator) -> Paths:
    """The healthy thorax. `portable`: antero-posterior in bed, so a larger heart and scapulae in front of the lungs."""
    paths = Paths(_trunk(thorax, view), lung_path(thorax, view), view.zeros())
    for start, end, radius in thorax.great_vessels():
        solid = view.zeros()
        view.tube(solid, start, end, radius)
        paths.lung = np.maximum(paths.lung - solid, 0)
    arteries, veins = view.zeros(), view.zeros()
    for number, (start, end, radius) in enumerate(thorax.pulmonary_vessels(rng, 300, 200)):
        view.tube(arteries if number % 500 < 300 else veins, start, end, min(1.25 * radius, 7.5))
    interstitium = 0.6 * correlated(rng, (view.size, view.size), 2, (0, 1))
    paths.lung -= np.minimum(arteries + veins + interstitium, 0.8 * paths.lung)

    air = view.zeros()
    for start, end, radius in thorax.airways():
        view.tube(air, start, end, 0.8 * radius)
    bubble = ((view.z - thorax.domes[1] + 20) / 13) ** 2 + ((view.x - 64) / rng.uniform(18, 34)) ** 2
    air += 30 * np.sqrt(np.maximum(1 - bubble, 0)) * np.clip((view.z - thorax.domes[1] + 28) / 3, 0, 1)
    paths.soft -= np.minimum(air, 0.5 * paths.soft)

    _ribs(thorax, view, paths.bone)
    _spine(thorax, view, paths.bone)
    _shoulders(thorax, view, paths.bone, portable, rng)
    return paths


def _trunk(thorax: Thorax, view: Projection) -> Array:
    """Neck, sloping shoulders, trunk and hanging arms; the breasts of a woman in front."""
    chest = thorax.half_width + thorax.wall + thorax.fat + 4
    knots = [-200, -60, 40, 85, 104, 122, 138, 155, 200]
    width = [chest, chest, chest + 2, chest + 8, chest + 20, chest - 8, 0.62 * chest, 64, 58]
    depth = [1.06, 1.04, 1.02, 0.95, 0.88, 0.8, 0.72, 0.64, 0.58]
    thick = thorax.half_depth + thorax.wall + thorax.fat
    rows = view.z[:, 0]
    half_width = smooth(np.interp(rows, knots, width).astype(np.float32), 60, (0,))[:, None]
    half_depth = smooth(np.interp(rows, knots, depth).astype(np.float32), 60, (0,))[:, None] * thick
    soft = 2 * half_depth * np.maximum(1 - (np.abs(view.x) / half_width) ** 2.6, 0) ** (1 / 2.3)
    for side in (-1, 1):
        arm = view.zeros()
        view.tube(arm, (92, 0, side * (chest + 14)), (-60, 0, side * (chest + 62)), 40)
        soft = np.maximum(soft, arm)
        if thorax.sex == "F":
            below = view.z < -46
            radius_z = np.where(below, np.float32(34), np.float32(66))
            breast = ((view.z + 46) / radius_z) ** 2 + ((view.x - side * 0.58 * thorax.half_width) / 56) ** 2
            soft += 30 * np.sqrt(np.maximum(1 - breast, 0))
    return soft


def lung_path(thorax: Thorax, view: Projection) -> Array:
    """Aerated path: the lungs' distance function on planes 7 mm apart, at half the resolution of the detector."""
    z, x = view.z[:, 0].reshape(-1, 2).mean(axis=1), view.x[0].reshape(-1, 2).mean(axis=1)
    y = np.arange(-94.5, 95, 7, dtype=np.float32)
    inside = coverage(thorax.lung(z[:, None, None], y[None, :, None], x[None, None, :]), 2.0)
    return enlarge(inside.sum(axis=1) * np.float32(7), 2, (0, 1))


def _ribs(thorax: Thorax, view: Projection, bone: Array) -> None:
    """The CT's tilted rings seen from the front: the half behind, then the half in front as far as the cartilage."""
    z, x = view.z, view.x
    width, depth = thorax.half_width * thorax.profile(z), thorax.half_depth * thorax.profile(z) ** 0.8

    def half_chord(grown: float) -> Array:
        part = np.minimum(np.abs(x) / (width + grown), 1)
        return (depth + grown) * np.maximum(1 - part**CAVITY_POWER, 0) ** (1 / CAVITY_POWER)

    shell = np.minimum(half_chord(10.2) - half_chord(1.8), 34)
    for side in (1, -1):  # behind, in front
        up = thorax.rib_offset(z, thorax.lean(z) + side * half_chord(6.0)) / (6.8 if side == 1 else 7.6)
        solid = np.sqrt(np.maximum(1 - up**2, 0)) - 0.62 * np.sqrt(np.maximum(1 - (up / 0.8) ** 2, 0))
        seen = np.clip((thorax.apex + 2 - z) / 4, 0, 1) * np.clip((np.abs(x) - (14 if side == 1 else 66)) / 8, 0, 1)
        if side == -1:  # the costal margin: below it nothing is left in front
            seen = seen * np.clip((z + 118 - 0.35 * (np.abs(x) - 60)) / 10, 0, 1)
        bone += (0.95 if side == 1 else 0.6) * shell * solid * seen


def _spine(thorax: Thorax, view: Projection, bone: Array) -> None:
    """Vertebral bodies and discs, pedicles, spinous and transverse processes; the sternum, faintly."""
    pitch = thorax.rib_pitch * 0.92
    up = (view.z + thorax.rib_phase) % pitch - pitch / 2
    x = view.x - 3 * np.sin(view.z / 70 + thorax.rib_phase)
    waist = 15.5 + 2.2 * (up / (pitch / 2)) ** 2
    body = np.sqrt(np.maximum(1 - (x / waist) ** 2, 0))
    disc = np.clip((np.abs(up) - pitch / 2 + 3.2) / 1.5, 0, 1)
    bone += (5 + 2 * (np.abs(np.abs(up) - pitch / 2 + 4.5) < 1.2)) * body * (1 - 0.9 * disc)
    for side in (-1, 1):
        oval = np.sqrt(((x - side * 9.5) / 4) ** 2 + ((up - 2) / 5.5) ** 2)
        bone += 3 * np.clip(1.6 - np.abs(oval - 0.8) * 2.5, 0, 1)
    bone += 4 * np.sqrt(np.maximum(1 - (x / 3) ** 2 - ((up + 5) / 7) ** 2, 0))
    across = np.clip((30 - np.abs(x)) / 4, 0, 1) * np.clip((np.abs(x) - 14) / 3, 0, 1)
    bone += 2.4 * across * np.clip(1.4 - np.abs(up - 3) / 3.5, 0, 1) * (view.z > -110)
    bone += 1.6 * np.clip((17 - np.abs(view.x)) / 2, 0, 1) * np.clip((72 - np.abs(view.z - 12)) / 5, 0, 1)


def _shoulders(thorax: Thorax, view: Projection, bone: Array, portable: bool, rng: np.random.Generator) -> None:
    """Clavicles, scapulae (turned out of the lungs when the patient stands), heads and shafts of the humeri."""
    raised = 8 if portable else 0
    scale = 4 * view.pixel
    for side in (-1, 1):
        tilt = rng.uniform(-4, 4)
        clavicle = [(86, 20), (92, 40), (101, 72), (106, 100), (104, 128), (102, 148)]
        rod = view.zeros()
        for (z0, x0), (z1, x1) in pairwise(clavicle):
            view.tube(rod, (z0 + raised + tilt, 0, side * x0), (z1 + raised + tilt, 0, side * x1), 5.6, 0.72)
        bone += 0.9 * rod
        humerus = view.zeros()
        head = (88 + tilt, 0, side * 168)
        view.tube(humerus, head, (-60, 0, side * 208), 11.5, 0.6)
        bone += np.maximum(0.6 * humerus, 7.5 * np.clip((22 - np.hypot(view.z - head[0], view.x - head[2])) / 5, 0, 1))

        inner = (104 if portable else 122) * thorax.half_width / 130
        blade = [(104, inner + 12), (96, inner + 38), (66, inner + 30), (20, inner + 10), (-2, inner), (30, inner - 8)]
        corners = [((side * x - view.x[0, 0]) / scale, (view.z[0, 0] - z - tilt) / scale) for z, x in blade]
        flat = Image.new("L", (view.size // 4, view.size // 4))
        ImageDraw.Draw(flat).polygon(corners, fill=255)
        plate = smooth(enlarge(np.asarray(flat, dtype=np.float32) / 255, 4, (0, 1)), 2, (0, 1))
        rim = view.zeros()
        for (z0, x0), (z1, x1) in pairwise(blade[1:]):
            view.tube(rim, (z0 + tilt, 0, side * x0), (z1 + tilt, 0, side * x1), 2.6)
        bone += 2.6 * plate + 0.8 * rim
