"""Training on a graphics card: it learns, in 16 bits, goes on exactly after an interruption, and leaves plain weights."""

import signal

import pytest
import torch
from safetensors.torch import load_file

from medcam.progress import Progress
from medcam.training._checkpoints import BEST
from medcam.training._device import accelerator, resolved
from medcam.training.settings import Settings
from medcam.training.trainer import fit
from tests.training.in_memory import EVERYTHING, LOOKS, Disturbed, network, run, squares

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
QUIET = Progress(quiet=True)


def test_the_card_is_taken_with_sixteen_bits():
    assert accelerator(1) == "cuda"
    assert resolved("auto", "cuda") in ("bf16-mixed", "16-mixed")


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_it_learns_in_every_precision(tmp_path, precision):
    settings = Settings(epochs=6, batch=8, rate=2e-2, patience=None, precision=precision)
    net = network()
    fitted = fit(net, squares(32, 2), squares(24, 1, seed=1), settings, tmp_path, QUIET)
    assert fitted.precision == precision
    assert max(epoch.auroc for epoch in fitted.history) > 0.95
    kept = load_file(tmp_path / BEST)
    assert all(value.dtype == torch.float32 for value in kept.values() if value.is_floating_point())
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())


def test_after_an_interruption_the_run_goes_on_exactly(tmp_path):
    unbroken = run(tmp_path / "unbroken")
    training = squares()
    training.transform = Disturbed(LOOKS + 100, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        fit(network(), training, squares(seed=1), EVERYTHING, tmp_path / "broken", QUIET)
    resumed = run(tmp_path / "broken")
    assert all(torch.equal(value, resumed.weights[name]) for name, value in unbroken.weights.items())


def test_the_first_loss_is_that_of_the_processor(tmp_path, monkeypatch):
    """One step of plain gradients: the same examples, the same loss."""
    settings = Settings(epochs=1, batch=32, per_epoch=32, augment=False, precision="32")
    here = fit(network(dropout=0.0), squares(), squares(seed=1), settings, tmp_path / "card", QUIET)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = fit(network(dropout=0.0), squares(), squares(seed=1), settings, tmp_path / "cpu", QUIET)
    assert here.history[0].loss == pytest.approx(there.history[0].loss, rel=1e-3)
