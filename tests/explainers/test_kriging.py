"""Kriging where the answer is known: on a line, between equals, and against the equations solved by hand."""

import numpy as np
import torch

from medcam.explainers._kriging import kriged


def test_on_a_line_it_interpolates_linearly_and_stays_level_outside() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [4.0], [-3.0], [9.0], [3.0]])
    values = torch.tensor([[10.0, 0.0], [20.0, -8.0]])
    told = kriged(points, torch.tensor([0, 3]), values)
    expected = [[10, 0], [12.5, -2], [15, -4], [20, -8], [10, 0], [20, -8], [17.5, -6]]
    torch.testing.assert_close(told, torch.tensor(expected), rtol=1e-5, atol=1e-4)


def test_what_was_measured_stays_and_its_equals_have_it_too() -> None:
    points = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    points[11] = points[3]
    known, values = torch.tensor([8, 3, 17, 5]), torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    told = kriged(points, known, values)
    assert torch.equal(told[known], values)
    torch.testing.assert_close(told[11], values[1], rtol=1e-4, atol=1e-4)
    everywhere = kriged(points, torch.arange(19, -1, -1), torch.arange(20.0)[:, None])
    assert torch.equal(everywhere[:, 0], torch.arange(19.0, -1, -1))


def test_a_constant_is_estimated_as_it_is_and_one_measurement_goes_for_all() -> None:
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        kriged(points, torch.tensor([0, 4, 2]), torch.full((3, 1), 5.0)), torch.full((9, 1), 5.0)
    )
    torch.testing.assert_close(kriged(points, torch.tensor([6]), torch.tensor([[2.0]])), torch.full((9, 1), 2.0))


def test_equals_the_equations_of_ordinary_kriging() -> None:
    """Point by point: weights that add up to one and make the expected squared error least."""
    generator = np.random.default_rng(0)
    points, known, values = generator.normal(size=(12, 4)), [1, 5, 6, 10], generator.normal(size=4)
    estimates = kriged(torch.tensor(points), torch.tensor(known), torch.tensor(values)[:, None])
    for point, told in zip(points, estimates, strict=True):
        variogram = [[np.linalg.norm(points[i] - points[j]) for j in known] for i in known]
        system = np.block([[np.array(variogram), np.ones((4, 1))], [np.ones((1, 4)), np.zeros((1, 1))]])
        weights = np.linalg.solve(system, [*(np.linalg.norm(points[i] - point) for i in known), 1])[:4]
        assert abs(float(told) - weights @ values) < 1e-4
        assert abs(weights.sum() - 1) < 1e-9
