"""Spread of scores and cells, by hand."""

import subprocess
import sys

import numpy as np
import pytest

from medcam.errors import UsageError
from medcam.uncertainty import SHELF
from medcam.uncertainty.base import standard_deviation


def test_standard_deviation_by_hand() -> None:
    """(.9, .7, .8) and (.2, .4, 0): the worked example of two pixels."""
    cells = np.array([[0.9, 0.2], [0.7, 0.4], [0.8, 0.0]])
    np.testing.assert_allclose(standard_deviation(cells), [0.081650, 0.163299], atol=1e-6)


def test_unseen_cells_do_not_count() -> None:
    cells = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan], [np.nan, 7.0, 2.0]])
    found = standard_deviation(cells)
    np.testing.assert_allclose(found[:2], [1.0, 1.0])
    assert np.isnan(found[2]), "one member alone has no spread"


def test_the_shelf() -> None:
    assert SHELF.names() == ["augmentation", "dropout", "ensemble"]
    for name in SHELF.names():
        assert SHELF.load(name).name == name
        with pytest.raises(UsageError, match="at least two passes"):
            SHELF.load(name)(**({"folders": []} if name == "ensemble" else {"passes": 1}))


def test_listing_the_shelf_imports_no_torch() -> None:
    code = "import sys, medcam.uncertainty as u; u.SHELF.names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
