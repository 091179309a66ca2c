"""Path lengths of an X-ray against closed forms."""

import numpy as np

from sample_data.projection import Projection
from sample_data.thorax import Thorax
from sample_data.xray_anatomy import lung_path


def test_a_ball_and_a_shell_have_their_paths_and_volumes() -> None:
    view = Projection(256, 0.5)
    ball, shell = view.zeros(), view.zeros()
    view.tube(ball, (10, 0, -20), (10, 0, -20), 12)
    view.tube(shell, (10, 0, -20), (10, 0, -20), 12, 0.5)
    assert abs(ball.max() - 24) < 0.05
    assert np.isclose(ball.sum() * 0.25, 4 / 3 * np.pi * 12**3, rtol=0.005)
    assert np.isclose(shell.sum() * 0.25, 4 / 3 * np.pi * (12**3 - 6**3), rtol=0.005)
    row, column = np.unravel_index(ball.argmax(), ball.shape)
    assert abs(row - (127.5 - 10 / 0.5)) <= 1  # towards the head is up
    assert abs(column - (127.5 - 20 / 0.5)) <= 1  # the patient's right is on the left


def test_a_tube_across_the_beam() -> None:
    view = Projection(256, 0.5)
    tube = view.zeros()
    view.tube(tube, (-30, 0, -30), (30, 0, 30), 5)
    length = 60 * np.sqrt(2)
    assert np.isclose(tube.sum() * 0.25, np.pi * 25 * length + 4 / 3 * np.pi * 125, rtol=0.005)


def test_the_projected_lung_has_the_volume_of_the_lung() -> None:
    thorax, view = Thorax.of_seed(5), Projection(512, 0.75)
    projected = float(lung_path(thorax, view).sum()) * 0.75**2
    low, high = np.array([-190, -95, -150]), np.array([190, 95, 150])
    z, y, x = np.random.default_rng(0).uniform(low, high, (400_000, 3)).astype(np.float32).T
    share = (thorax.lung(z, y, x) < 0).mean()
    volume = share * np.prod(high - low)
    assert 1.5e6 < volume < 6e6  # 1.5 to 6 litres: a deep breath of an adult
    assert np.isclose(projected, volume, rtol=0.02)
