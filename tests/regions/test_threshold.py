"""Regions lie where the evidence lies, in source pixels, millimetres and seconds, and healthy series have none."""

import numpy as np
import pytest

from medcam.findings import Explanation
from medcam.grid import Grid, resample
from medcam.regions.threshold import regions


def explain(evidence, grid, input_grid, high=4.0):
    return Explanation(
        "gradcam",
        "layer4",
        "x",
        "logit",
        False,
        True,
        grid,
        input_grid,
        evidence.astype(np.float32),
        display_range=(0.0, high),
    )


def test_a_blob_in_a_flipped_anisotropic_volume_is_boxed_at_its_place():
    source = Grid.of(
        (40, 60, 50), [[0, 0, -2, 30], [0, -2, 0, 40], [-5, 0, 0, 90], [0, 0, 0, 1]], space="patient", mm_known=True
    )
    oriented = Grid.of(
        (48, 48, 48), [[0, 0, -4, 40], [0, -4, 0, 60], [5, 0, 0, -120], [0, 0, 0, 1]], space="patient", mm_known=True
    )
    coarse = oriented.resized((12, 12, 12))
    blob = source.position([25, 30, 20])
    cells = coarse.position(np.stack(np.meshgrid(*map(np.arange, coarse.shape), indexing="ij"), -1))
    evidence = 4.5 * np.exp(-((np.linalg.norm(cells - blob, axis=-1) / 25) ** 2))
    (region,) = regions(explain(evidence, coarse, oriented), source)
    assert np.abs(np.array(region.peak) - [25, 30, 20]).max() * 5 <= 16  # within a coarse cell (20 x 16 x 16 mm)
    on_source = resample(evidence, coarse, source, within=oriented)
    hot = np.argwhere(on_source >= 2.0)
    cell = np.array([5, 4, 4]) / np.array(source.spacing)  # a refined cell in source pixels
    assert (np.abs(hot.min(0) - region.start) <= cell + 1).all()
    assert (np.abs(hot.max(0) + 1 - region.stop) <= cell + 1).all()
    extent = np.subtract(region.stop, region.start)
    assert region.size_mm == pytest.approx(extent * source.spacing)
    assert region.centre_mm == pytest.approx(source.position((np.add(region.start, region.stop) - 1) / 2))


def test_two_frames_of_a_cine_are_given_in_seconds():
    source = Grid.plane(
        (8, 32, 32), (0.5, 0.5), space="detector", mm_known=True, frame_times_s=tuple(0.1 * i for i in range(8))
    )
    coarse = source.resized((8, 4, 4))
    evidence = np.zeros(coarse.shape)
    evidence[3:5, 1, 2] = 4
    (region,) = regions(explain(evidence, coarse, source), source)
    assert (region.start[0], region.stop[0]) == (3, 5)
    assert region.interval_s == pytest.approx((0.3, 0.5))
    assert len(region.size_mm) == 2
    assert 8 <= region.peak[1] < 16
    assert 16 <= region.peak[2] < 24
    assert region.mass == pytest.approx(0.6, abs=0.25)


def test_the_last_frame_ends_one_frame_later():
    source = Grid.plane((3, 8, 8), frame_times_s=(0.0, 0.2, 0.4))
    evidence = np.full((3, 2, 2), 4.0)
    (region,) = regions(explain(evidence, source.resized((3, 2, 2)), source), source)
    assert region.interval_s == pytest.approx((0.0, 0.6))
    assert region.size_mm is None


def test_weak_evidence_has_no_region_however_it_is_shaped():
    source = Grid.plane((32, 32))
    evidence = np.random.default_rng(0).uniform(0, 1.9, (4, 4))
    assert regions(explain(evidence, source.resized((4, 4)), source), source) == ()
    assert regions(explain(np.zeros((4, 4)), source.resized((4, 4)), source, high=0.0), source) == ()


def test_regions_are_sorted_by_strength_and_share_the_mass():
    source = Grid.plane((64, 64))
    evidence = np.zeros((8, 8))
    evidence[1, 1], evidence[6, 6] = 3.0, 4.0
    strong, weak = regions(explain(evidence, source.resized((8, 8)), source), source)
    assert strong.peak_value > weak.peak_value
    assert np.abs(np.array(strong.peak) - 51.5).max() <= 2
    assert np.abs(np.array(weak.peak) - 11.5).max() <= 2
    assert 0 < strong.mass + weak.mass <= 1
