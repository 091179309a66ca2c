"""Closed forms and figures of the papers; and what MONAI's FocalLoss does with one label per image."""

import numpy as np
import pytest
import torch
from monai.losses import FocalLoss as Voxelwise
from torch.nn import functional

from medcam.errors import UsageError
from medcam.training.losses import FocalLoss, class_weights, effective_number

ONE_HOT = torch.tensor([[1.0, 0.0, 0.0]])
LOGITS = torch.tensor([[2.0, 1.0, 0.0]])
GENERATOR = torch.Generator().manual_seed(0)
Z, ROWS = torch.randn(40, 3, generator=GENERATOR) * 2, torch.arange(40) % 3
HARD = functional.one_hot(ROWS, 3).float()
MANY = (torch.rand(40, 3, generator=GENERATOR) > 0.6).float()


def binary(x, y, gamma, a=None):
    weights = None if a is None else class_weights("given", np.array([[1.0]], np.float32), "single-logit", [a])
    return FocalLoss("single-logit", gamma, weights)(torch.tensor([[x]]), torch.tensor([[y]])).item()


def test_binary_figures():
    assert binary(0.0, 1.0, 2.0, 0.25) == pytest.approx(0.0433217, abs=5e-8)  # .25 * .25 * ln 2
    assert binary(2.0, 1.0, 2.0) == pytest.approx(0.00180356, abs=5e-9)
    assert binary(2.0, 0.0, 2.0) == pytest.approx(1.650078, abs=5e-7)
    assert binary(0.0, 0.0, 2.0, 0.25) == pytest.approx(0.75 * 0.25 * np.log(2))


def test_softmax_figures():
    assert FocalLoss("softmax", 2.0)(LOGITS, ONE_HOT).item() == pytest.approx(0.0456778, abs=5e-8)
    assert FocalLoss("softmax", 0.0)(LOGITS, ONE_HOT).item() == pytest.approx(0.407606, abs=5e-7)


def slow(logits, targets, gamma, weights):
    """Lin et al., equations 4 and 5, sample by sample."""
    losses = []
    for z, target in zip(logits.double().numpy(), targets.numpy(), strict=True):
        p = np.exp(z) / np.exp(z).sum()
        y = int(target.argmax())
        losses.append(-weights[y] * (1 - p[y]) ** gamma * np.log(p[y]))
    return np.array(losses)


def test_softmax_is_the_paper_sample_by_sample():
    weights = [0.5, 2.0, 0.7]
    loss = FocalLoss("softmax", 1.7, torch.tensor(weights, dtype=torch.float64), reduction="none")(Z.double(), HARD)
    np.testing.assert_allclose(loss.numpy(), slow(Z, HARD, 1.7, weights), rtol=1e-12)


def test_without_gamma_it_is_cross_entropy():
    for smoothing in (0.0, 0.1):
        ours = FocalLoss("softmax", smoothing=smoothing, reduction="none")(Z, HARD)
        torch.testing.assert_close(ours, functional.cross_entropy(Z, ROWS, label_smoothing=smoothing, reduction="none"))
        soft = MANY * (1 - smoothing) + smoothing / 2
        ours = FocalLoss("sigmoid", smoothing=smoothing)(Z, MANY)
        torch.testing.assert_close(ours, functional.binary_cross_entropy_with_logits(Z, soft))
    weights = torch.tensor([0.3, 1.2, 2.5])
    ours = FocalLoss("softmax", weights=weights, reduction="none")(Z, HARD)
    torch.testing.assert_close(ours, functional.cross_entropy(Z, ROWS, weights, reduction="none"))


def test_several_labels_are_several_questions():
    together = FocalLoss("sigmoid", 2.0, reduction="none")(Z, MANY)
    alone = [FocalLoss("single-logit", 2.0, reduction="none")(Z[:, k : k + 1], MANY[:, k : k + 1]) for k in range(3)]
    torch.testing.assert_close(together, torch.stack(alone).mean(0))


def test_two_classes_are_one_question():
    difference = Z[:, 1:2] - Z[:, :1]
    one = FocalLoss("single-logit", 2.0, torch.tensor([[0.4, 1.6]]), reduction="none")
    two = FocalLoss("softmax", 2.0, torch.tensor([0.4, 1.6]), reduction="none")
    yes = (ROWS == 1).float()[:, None]
    torch.testing.assert_close(one(difference, yes), two(Z[:, :2], torch.cat([1 - yes, yes], 1)))


def test_reductions():
    none = FocalLoss("softmax", 2.0, reduction="none")(Z, HARD)
    assert none.shape == (40,)
    torch.testing.assert_close(FocalLoss("softmax", 2.0)(Z, HARD), none.mean())
    torch.testing.assert_close(FocalLoss("softmax", 2.0, reduction="sum")(Z, HARD), none.sum())


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients(head, gamma, smoothing):
    z, targets = Z[:6].double().requires_grad_(), (HARD if head == "softmax" else MANY)[:6].double()
    weights = torch.tensor([0.5, 2.0, 0.7] if head == "softmax" else [[0.5, 1.5], [1.0, 1.0], [0.2, 1.8]]).double()
    loss = FocalLoss(head, gamma, weights, smoothing)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), z)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sure_answers_stay_finite(head, gamma):
    z = torch.tensor([[100.0, -100.0], [-100.0, 100.0], [0.0, 0.0]], requires_grad=True)
    right = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    for targets in (right, 1 - right):
        loss = FocalLoss(head, gamma, smoothing=0.05, reduction="none")(z, targets)
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()
    wrong = FocalLoss(head, gamma, reduction="none")(z, 1 - right)
    assert wrong[0].item() == pytest.approx(200.0 if head == "softmax" else 100.0)


def test_weights_from_counts():
    targets = np.zeros((1114 + 2951, 2), np.float32)
    targets[:1114, 0] = targets[1114:, 1] = 1
    np.testing.assert_allclose(class_weights("counts", targets, "softmax").numpy(), [1.4519, 0.5481], atol=5e-5)
    single = class_weights("counts", targets[:, 1:], "single-logit")
    np.testing.assert_allclose(single.numpy(), [[1.4519, 0.5481]], atol=5e-5)  # of absence and of presence
    four = np.repeat(np.eye(4, dtype=np.float32), [1, 2, 3, 6], axis=0)
    np.testing.assert_allclose(class_weights("counts", four, "softmax").numpy(), [2.0, 1.0, 2 / 3, 1 / 3], rtol=1e-6)


def test_effective_number_of_samples():
    np.testing.assert_allclose(effective_number(np.array([10.0, 1000.0]), 0.999), [9.955, 632.30], atol=5e-3)
    targets = np.repeat(np.eye(2, dtype=np.float32), [10, 1000], axis=0)

    def weights(beta):
        return class_weights("effective", targets, "softmax", beta=beta).numpy()

    np.testing.assert_allclose(weights(0.999), [1.969, 0.031], atol=5e-4)
    np.testing.assert_allclose(weights(0.9999), [1.9792, 0.0208], atol=5e-5)
    np.testing.assert_allclose(weights(0.0), [1.0, 1.0])
    np.testing.assert_allclose(weights(1 - 1e-9), class_weights("counts", targets, "softmax").numpy(), rtol=1e-4)


def test_weights_that_do_not_fit_or_cannot_be_known():
    with pytest.raises(UsageError, match="do not fit 3 logits"):
        class_weights("given", HARD.numpy(), "softmax", [0.25])
    with pytest.raises(UsageError, match="never occurs"):
        class_weights("counts", np.ones((5, 1), np.float32), "single-logit")
    assert class_weights("none", HARD.numpy(), "softmax") is None


def test_monai_agrees_where_its_formula_is_the_same():
    torch.testing.assert_close(FocalLoss("sigmoid", 2.0)(Z, MANY), Voxelwise(gamma=2.0)(Z, MANY))
    weights = class_weights("given", MANY.numpy(), "sigmoid", [0.25] * 3)
    torch.testing.assert_close(FocalLoss("sigmoid", 2.0, weights)(Z, MANY), Voxelwise(gamma=2.0, alpha=0.25)(Z, MANY))
    ours = FocalLoss("softmax", 2.0, torch.tensor([0.3, 1.0, 2.0]), reduction="none")(Z, HARD)
    theirs = Voxelwise(gamma=2.0, use_softmax=True, weight=torch.tensor([0.3, 1.0, 2.0]), reduction="none")(Z, HARD)
    torch.testing.assert_close(ours, theirs.sum(1))


def test_monai_trap_1_several_classes_are_a_sigmoid_by_default():
    torch.testing.assert_close(Voxelwise()(Z, HARD), FocalLoss("sigmoid", 2.0)(Z, HARD))
    assert abs(Voxelwise()(Z, HARD) - FocalLoss("softmax", 2.0)(Z, HARD)) > 0.05


def test_monai_trap_2_the_mean_is_over_classes_too():
    assert Voxelwise(use_softmax=True)(LOGITS, ONE_HOT).item() == pytest.approx(0.0152259, abs=5e-8)
    torch.testing.assert_close(Voxelwise(gamma=0.0, use_softmax=True)(Z, HARD), functional.cross_entropy(Z, ROWS) / 3)


def test_monai_trap_3_the_sum_is_the_mean():
    summed = Voxelwise(use_softmax=True, reduction="sum")(Z, HARD)
    torch.testing.assert_close(summed, Voxelwise(use_softmax=True)(Z, HARD))


def test_monai_trap_4_without_background_the_probabilities_are_others():
    theirs = Voxelwise(gamma=0.0, use_softmax=True, include_background=False, reduction="none")(Z, HARD).sum(1)
    assert (theirs[ROWS == 0] == 0).all()  # samples of class 0 teach nothing
    rest = ROWS != 0
    torch.testing.assert_close(theirs[rest], functional.cross_entropy(Z[rest, 1:], ROWS[rest] - 1, reduction="none"))


def test_monai_trap_5_one_alpha_serves_all_classes_but_the_first():
    assert Voxelwise(use_softmax=True, alpha=0.25)(LOGITS, ONE_HOT).item() == pytest.approx(0.0114194, abs=5e-8)
    theirs = Voxelwise(use_softmax=True, alpha=0.25, reduction="none")(Z, HARD).sum(1)
    ours = FocalLoss("softmax", 2.0, torch.tensor([0.75, 0.25, 0.25]), reduction="none")(Z, HARD)
    torch.testing.assert_close(theirs, ours)
