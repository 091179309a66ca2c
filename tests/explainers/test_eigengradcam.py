"""Eigen-Grad-CAM against numpy, with the sign that speaks for the target."""

import numpy as np
import torch

from medcam.explainers import explain
from tests.explainers.nets import Flat, Linear
from tests.explainers.slow import seen


def test_equals_numpy_with_the_sign_of_hirescam() -> None:
    model, x = Flat().eval(), torch.randn(2, 1, 16, 16)
    ours = explain(model, x, "eigengradcam", targets="all", layer="conv").evidence
    for sample in range(2):
        for target in range(3):
            activation, gradient = seen(model, "conv", x[sample : sample + 1], target)
            product = (activation * gradient).flatten(1).T.double().numpy()
            _, _, vt = np.linalg.svd(product, full_matrices=False)
            expected = product @ vt[0]
            expected *= np.sign(np.corrcoef(expected, product.sum(axis=1))[0, 1])
            np.testing.assert_allclose(ours[sample, target].flatten().numpy(), expected, rtol=1e-3, atol=1e-5)


def test_other_targets_have_other_maps() -> None:
    explained = explain(Linear().eval(), torch.randn(1, 1, 16, 16), "eigengradcam", targets="all", layer="act")
    assert not torch.allclose(explained.evidence[0, 0], explained.evidence[0, 1], atol=1e-5)
    assert explained.class_specific
