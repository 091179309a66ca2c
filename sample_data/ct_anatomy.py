"""The healthy chest in HU, and the things in a CT that have nothing to do with the lungs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sample_data.texture import correlated, enlarge
from sample_data.thorax import Array, Thorax
from sample_data.volume import Volume, coverage

AIR, FAT, MUSCLE, LIVER, MARROW, CORTEX, METAL = -1000.0, -100.0, 52.0, 62.0, 190.0, 820.0, 3000.0


def paint_anatomy(volume: Volume, thorax: Thorax, rng: np.random.Generator) -> Array:
    """Paint the healthy thorax from the skin inwards; return the part of each voxel that is lung (D, H, W)."""
    z, y, x = volume.z, volume.y, volume.x
    soft = enlarge(correlated(rng, (volume.hu.shape[0], 40, 40), 2, (0, 1, 2)), 4, (1, 2))
    trunk, breasts = thorax.body(z, y, x), thorax.breasts(z, y, x)
    overlap = np.clip(0.5 + (breasts - trunk) / 36, 0, 1)
    skin = trunk * overlap + breasts * (1 - overlap) - 18 * overlap * (1 - overlap)  # a smooth union
    cavity = thorax.cavity(z, y, x)
    volume.paint(coverage(skin, 2.2), 20)
    volume.paint(coverage(skin + 2.5, 2.2), FAT + 12 * soft)
    gland = coverage(breasts + 14 + 6 * soft, 8) * (soft > -0.2)
    volume.paint(0.8 * gland * coverage(-trunk, 3), 40)
    volume.paint(coverage(trunk + 2.5 + thorax.fat + 2 * soft, 3), MUSCLE + 8 * soft)
    plane = np.minimum(
        np.abs(cavity - 15 - 3 * soft) - 0.8,
        np.maximum.reduce([19 - cavity, trunk + thorax.fat + 20, 52 + 6 * soft - np.abs(x)]),
    )
    volume.paint(coverage(plane, 3.5), FAT + 10 * soft)  # between the muscles, and the armpit
    neck = np.sqrt((x / 62) ** 2 + ((y - 72) / 40) ** 2) - 1 + np.maximum(0, 80 - z) / 60
    volume.paint(coverage(neck * 40, 4) * coverage(trunk + thorax.fat, 3), MUSCLE + 8 * soft)
    _ribs(volume, thorax, cavity)

    volume.paint(coverage(cavity, 2.2), FAT + 8 * soft)  # what is left of it after the organs: mediastinal fat
    floor = thorax.above_diaphragm(z, y, x)
    _abdomen(volume, thorax, coverage(cavity + 3, 2.2) * coverage(floor, 3.5), soft)
    volume.paint(coverage(np.abs(floor + 2) - 2.5, 2.5) * coverage(cavity, 2.2), MUSCLE)
    heart = thorax.heart_distance(z, y, x)
    blood = rng.uniform(150, 230) if rng.random() < 0.4 else 44.0  # some are given contrast
    volume.paint(coverage(heart + 3, 2.5) * coverage(-floor, 3.5), blood * 0.9 + 5 * soft)
    _bones(volume, thorax)

    lung = coverage(thorax.lung(z, y, x), 2.4)
    texture = 28 * correlated(rng, volume.hu.shape, 1, (0, 1, 2)) + 16 * soft
    gravity = 0.35 * (y - 20)  # the lung below carries more blood
    fissure = coverage(np.abs(z + 18 + 0.75 * (y + 8) + 0.1 * np.abs(x)) - 0.6, 5)
    volume.paint(lung, rng.uniform(-885, -855) + gravity + texture + 260 * fissure)
    _great_vessels(volume, thorax, lung, blood)
    _airways_and_vessels(volume, thorax, lung, blood, rng)
    return lung


def _ribs(volume: Volume, thorax: Thorax, cavity: Array) -> None:
    """The tilted rings of the rib cage: cortex around marrow, ending in cartilage beside the sternum."""
    z, y, x = volume.z, volume.y, volume.x
    up = thorax.rib_offset(z, y)
    ring = np.sqrt((up / 6.5) ** 2 + ((cavity - 6.0) / 4.2) ** 2) * np.float32(4.2) - np.float32(4.2)
    bone = coverage(ring, 2.4) * (z < thorax.apex - 4)
    front = (y < 0) & (np.abs(x) < 62)
    volume.paint(bone, np.where(front, np.float32(95), np.float32(CORTEX * 0.75)))
    volume.paint(coverage(ring + 2.0, 2.0) * (bone > 0.5), np.where(front, np.float32(95), np.float32(MARROW)))


def _abdomen(volume: Volume, thorax: Thorax, below: Array, soft: Array) -> None:
    """Liver on the right and across the middle, spleen behind, stomach with its bubble in front on the left."""
    z, y, x = volume.z, volume.y, volume.x
    volume.paint(below * coverage(x - 30 - 0.2 * y, 4), LIVER + 5 * soft)
    spleen = np.sqrt(((z - thorax.domes[1] + 34) / 40) ** 2 + ((y - 38) / 34) ** 2 + ((x - 88) / 30) ** 2)
    volume.paint(below * coverage((spleen - 1) * 30, 3), 54 + 4 * soft)
    stomach = np.sqrt(((z - thorax.domes[1] + 32) / 26) ** 2 + ((y + 28) / 34) ** 2 + ((x - 72) / 32) ** 2)
    volume.paint(below * coverage((stomach - 1) * 28, 3), 40)
    volume.paint(below * coverage(np.maximum((stomach - 0.88) * 28, y + 36), 3), AIR)


def _great_vessels(volume: Volume, thorax: Thorax, lung: Array, blood: float) -> None:
    """Aorta (root, arch, descending), pulmonary trunk and its arteries, vena cava, oesophagus."""
    for start, end, radius in thorax.great_vessels():
        volume.capsule(start, end, radius, blood, carve=lung)
    volume.capsule((130, 36, 4), (-170, 34, 6), 6.5, 42, carve=lung)  # oesophagus


def _bones(volume: Volume, thorax: Thorax) -> None:
    """Spine, sternum, scapulae, clavicles, humeral heads."""
    z, y, x = volume.z, volume.y, volume.x
    back, front = 70.0, float(thorax.lean(np.zeros(1, np.float32))[0]) - thorax.half_depth
    disc = np.abs((z + thorax.rib_phase) % thorax.rib_pitch - thorax.rib_pitch / 2) < 3
    body = (np.sqrt(((y - back) / 14.5) ** 2 + (x / 18) ** 2) - 1) * 15
    volume.paint(coverage(body, 2.4), np.where(disc, np.float32(85), np.float32(480)))
    volume.paint(coverage(body + 2.2, 2.4), np.where(disc, np.float32(85), np.float32(MARROW)))
    arch = np.abs(np.hypot(y - back - 20, x) - 11) - 2.6
    volume.paint(coverage(arch, 2.4) * ~disc, 480)
    volume.paint(coverage(np.hypot(y - back - 20, x) - 8.5, 2.4), 28)
    end = thorax.half_depth + thorax.wall + 2
    process = np.maximum(np.abs(x) - 2.6, np.maximum(back + 29 - y, y - end))
    volume.paint(coverage(process, 2.4) * ~disc, 380)
    across = np.maximum(np.abs(y - back - 13) - 4, np.abs(np.abs(x) - 26) - 13)
    volume.paint(coverage(across, 2.4) * (np.abs((z + thorax.rib_phase) % thorax.rib_pitch - 3) < 5), 420)

    depth = np.abs(y - front * thorax.profile(z) ** 0.8 - thorax.lean(z) + 7)
    breastbone = np.maximum(np.maximum(depth - 5, np.abs(x) - 17 - 0.06 * z), np.abs(z - 8) - 72)
    volume.paint(coverage(breastbone, 2.4), 430)
    volume.paint(coverage(breastbone + 2, 2.4), 150)
    for side in (-1, 1):
        edge = side * (thorax.half_width + 8)
        blade = [(118, 66, side * 0.93), (62, 84, side * 0.80), (8, 88, side * 0.74)]
        for (z0, y0, x0), (z1, y1, x1) in pairwise(blade):
            for slide in np.linspace(0, 1, 7):  # a thin plate as a row of rods, wrapped around the ribs
                turn = 26 * slide
                volume.capsule(
                    (z0, y0 - turn, x0 * abs(edge) + side * 1.1 * turn),
                    (z1, y1 - turn, x1 * abs(edge) + side * 1.1 * turn),
                    2.4,
                    420,
                )
        volume.capsule((88, front + 26, side * 22), (112, front + 52, side * 90), 6, 520)
        volume.capsule((112, front + 52, side * 90), (122, 10, side * 150), 5.5, 520)


def _airways_and_vessels(volume: Volume, thorax: Thorax, lung: Array, blood: float, rng: np.random.Generator) -> None:
    """Pulmonary trees within the lung, then trachea and bronchi: wall first, air in it."""
    inner = np.clip(lung * 1.6 - 0.4, 0, 1)
    for start, end, radius in thorax.pulmonary_vessels(rng, 160, 110):
        volume.capsule(start, end, min(radius, 7.5), blood - 20, inner)
    tubes = thorax.airways()
    for start, end, radius in tubes:
        volume.capsule(start, end, radius + 1.6, 20)
    for start, end, radius in tubes:
        volume.capsule(start, end, radius, AIR)


def paint_distractors(volume: Volume, thorax: Thorax, rng: np.random.Generator) -> tuple[str, ...]:
    """What lies in the picture whatever the label: the table always, the others by a draw that cannot see the label."""
    z, y, x = volume.z, volume.y, volume.x
    back = thorax.half_depth + thorax.wall + thorax.fat + 10
    top = back + 4 + 0.0022 * x**2
    shell = np.minimum(np.abs(y - top) - 1.2, np.abs(y - top - 26) - 1.2)
    volume.paint(coverage(np.maximum(shell, np.abs(x) - 165), 2.2) * np.ones_like(z), -150)
    names = ["table"]
    if rng.random() < 0.35:
        names.append("central venous catheter")
        path = [(140, -40, -60), (96, -40, -48), (80, -22, -24), (0, -20, -22)]
        for start, end in pairwise(path):
            volume.capsule(start, end, 1.3, 900)
    if rng.random() < 0.3:
        names.append("pacemaker")
        front = -(thorax.half_depth + thorax.wall) * 0.93
        volume.capsule((74, front + 14, 84), (84, front + 12, 78), 10, METAL)
        path = [(84, front + 12, 78), (104, -50, 60), (92, -24, 10), (60, -22, -22), (-20, -20, -22), (-62, -44, 26)]
        for start, end in pairwise(path):
            volume.capsule(start, end, 1.2, METAL)
    if rng.random() < 0.35:
        names.append("calcified lymph node")
        volume.capsule((8, 30, -14), (6, 32, -17), rng.uniform(3, 5), 650)
    if rng.random() < 0.3:
        names.append("ECG lead")
        for electrode in ((60, -70), (20, 95)):
            front = -(thorax.half_depth + thorax.wall + thorax.fat)
            volume.capsule(
                (electrode[0], front * 0.9, electrode[1]), (electrode[0], front * 0.88, electrode[1]), 4, 1500
            )
    return tuple(names)
