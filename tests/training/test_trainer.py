"""Training ends where it would have ended, whatever happened on the way, and keeps the epoch that was best."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import multiprocessing

from medcam.errors import ResultsError, TrainingError, UsageError
from medcam.evaluation.classification import auroc
from medcam.progress import Progress
from medcam.training._checkpoints import BEST, LAST, load
from medcam.training._device import resolved
from medcam.training._rate import rate
from medcam.training.settings import Settings
from medcam.training.trainer import _other_processes, fit
from tests.training import failing
from tests.training.in_memory import EVERYTHING, LOOKS, Disturbed, network, run, squares

ROOT = Path(__file__).resolve().parents[2]
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return run(tmp_path_factory.mktemp("unbroken"))


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def told(history):
    """Without seconds, which no two runs share."""
    return [replace(epoch, seconds=0.0) for epoch in history]


def interrupted(folder, at, event):
    """The run of `run`, in which something happens at the `at`-th look at a training image."""
    training = squares()
    training.transform = Disturbed(LOOKS + at, event)
    return fit(network(), training, squares(seed=1), EVERYTHING, folder, QUIET)


def test_it_learns_and_keeps_the_best_epoch(tmp_path):
    net, validation = network(), squares(24, 1, seed=1)
    settings = Settings(epochs=6, batch=8, rate=2e-2, patience=None, precision="32")
    fitted = fit(net, squares(32, 2), validation, settings, tmp_path, QUIET)
    with torch.no_grad():
        logits = net(torch.stack([row["image"] for row in validation]))
    top = fitted.history[fitted.best_epoch - 1]
    assert not net.training
    assert (
        auroc(validation.targets[:, 0], logits[:, 0])
        == pytest.approx(top.auroc)
        == max(e.auroc for e in fitted.history)
    )
    assert top.auroc > 0.95
    p = logits.double().sigmoid().numpy()
    pt = np.where(validation.targets == 1, p, 1 - p)
    assert top.validation_loss == pytest.approx((-(1 - pt) * np.log(pt)).mean(), rel=1e-5)  # focal, gamma 1
    assert same(fitted.weights, net.state_dict())
    assert same(load_file(tmp_path / BEST), fitted.weights)
    assert fitted.history[-1].loss < fitted.history[0].loss
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [point.value for point in shown.Scalars("epoch/validation AUROC")] == pytest.approx(
        [epoch.auroc for epoch in fitted.history]
    )
    assert len(shown.Scalars("step/loss")) == 6 * 8 // 10


def test_the_seed_decides(tmp_path, unbroken):
    assert same(run(tmp_path / "again").weights, unbroken.weights)
    other = fit(network(), squares(), squares(seed=1), replace(EVERYTHING, seed=1), tmp_path / "other", QUIET)
    assert not same(other.weights, unbroken.weights)
    assert [epoch.size for epoch in unbroken.history] == [(16, 16)] * 3 + [(20, 20), (24, 24), (24, 24)]


def test_training_leaves_the_random_numbers_of_others_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    net = network()
    torch.manual_seed(5)
    fit(net, squares(8), squares(8, seed=1), Settings(epochs=1, precision="32"), tmp_path, QUIET)
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def listening():
    """To Ctrl+C, which a process started in the background does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("looks", [1, 20, 33, 100, 191])  # 32 in each of six epochs
def test_after_ctrl_c_the_run_goes_on_exactly(looks, tmp_path, unbroken):
    def press():
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, looks, press)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / LAST).exists() == (looks > 32)
    fitted = run(tmp_path)
    assert same(fitted.weights, unbroken.weights)
    assert told(fitted.history) == told(unbroken.history)


def test_after_kill_9_at_any_moment_the_run_goes_on_exactly(tmp_path, unbroken):
    code = "import sys; from pathlib import Path; from tests.training.in_memory import run, slowly; run(Path(sys.argv[1]), slowly)"
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, env=os.environ | threads)
    while not (tmp_path / LAST).exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.random() * 0.5)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    fitted = run(tmp_path)
    assert same(fitted.weights, unbroken.weights)
    assert told(fitted.history) == told(unbroken.history)


def test_a_finished_run_is_only_read(tmp_path):
    settings = Settings(epochs=2, precision="32")
    first = fit(network(), squares(8), squares(8, seed=1), settings, tmp_path, QUIET)
    before = (tmp_path / LAST).stat().st_mtime_ns
    again = fit(network(), squares(8), squares(8, seed=1), settings, tmp_path, QUIET, resume=True)
    assert (tmp_path / LAST).stat().st_mtime_ns == before
    assert same(again.weights, first.weights)
    assert again.history == first.history


def test_another_run_is_not_mixed_in(tmp_path):
    settings = Settings(epochs=1, precision="32")

    def again(training, changed, resume):
        with pytest.raises(UsageError) as caught:
            fit(network(), training, squares(8, seed=1), changed, tmp_path, QUIET, resume=resume)
        return caught.value.code, str(caught.value)

    fit(network(), squares(8), squares(8, seed=1), settings, tmp_path, QUIET)
    assert again(squares(8), settings, False)[0] == "run-exists"
    code, words = again(squares(8), replace(settings, rate=0.5, epochs=3), True)
    assert code == "resume-differs"
    assert "had other epochs, rate;" in words
    assert "had other data;" in again(squares(10), settings, True)[1]


def test_it_stops_when_nothing_gets_better(tmp_path):
    validation = squares(24, 1, seed=1, brightness=0.0)  # there is nothing to see
    settings = Settings(epochs=40, batch=8, patience=2, precision="32")
    fitted = fit(network(), squares(), validation, settings, tmp_path, QUIET)
    assert len(fitted.history) == fitted.best_epoch + 2 < 40


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing(tmp_path, unbroken):
    with pytest.raises(TrainingError, match="epoch 3, step 2") as caught:
        interrupted(tmp_path, 2 * 32 + 9, lambda: torch.full((1, 24, 24), torch.nan))
    assert caught.value.code == "nan-loss"
    assert f"checkpoint in {tmp_path} is that of epoch 2." in str(caught.value)
    assert len(load(tmp_path / LAST)["history"]) == 2
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / BEST).values())
    assert same(run(tmp_path).weights, unbroken.weights)


def test_weights_that_give_no_numbers_are_not_kept(tmp_path):
    validation = squares(8, seed=1)
    validation.transform = Disturbed(6, lambda: torch.full((1, 24, 24), torch.inf))
    with pytest.raises(TrainingError, match="validation logit is not a number after epoch 1") as caught:
        fit(network(), squares(), validation, Settings(epochs=2, precision="32"), tmp_path, QUIET)
    assert caught.value.code == "nan-loss"
    assert not (tmp_path / LAST).exists()


def test_a_full_disk_in_mid_checkpoint(tmp_path, unbroken):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        half = (tmp_path / LAST).stat().st_size // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (half, limits[1]))

    try:
        with pytest.raises(ResultsError, match="No space left") as caught:
            interrupted(tmp_path, 3 * 32 + 5, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "disk-full"
    assert len(load(tmp_path / LAST)["history"]) == 3
    assert not list(tmp_path.glob(".*"))  # no half of a file
    assert same(run(tmp_path).weights, unbroken.weights)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / LAST).write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(TrainingError) as caught:
        run(tmp_path)
    assert caught.value.code == "checkpoint"


def test_two_processes_learn_like_one_with_the_same_batches(tmp_path):
    settings = Settings(epochs=2, batch=8, rate=1e-2, augment=False, precision="32", alpha="counts")
    training, validation = squares(16, 2), squares(9, 1, seed=1)  # nine is odd: one example comes twice
    one = fit(network(False, 0.0), training, validation, settings, tmp_path / "one", QUIET)
    two = fit(network(False, 0.0), training, validation, replace(settings, devices=2), tmp_path / "two", QUIET)
    start = network(False, 0.0).state_dict()
    for name, value in one.weights.items():
        torch.testing.assert_close(two.weights[name], value, rtol=0, atol=1e-5)
        assert not torch.allclose(start[name], value, rtol=0, atol=1e-3)
    for mine, theirs in zip(one.history, two.history, strict=True):
        assert mine.auroc == theirs.auroc
        assert theirs.loss == pytest.approx(mine.loss, abs=1e-5)
        assert theirs.validation_loss == pytest.approx(mine.validation_loss, abs=1e-5)


def test_an_error_of_another_process_is_the_same_error():
    with pytest.raises(TrainingError) as caught, _other_processes():
        multiprocessing.spawn(failing.fail, nprocs=1)
    assert (caught.value.code, str(caught.value)) == ("nan-loss", "The loss is not a number (really). [nan-loss]")


def test_sixteen_bits(tmp_path):
    settings = Settings(epochs=1, batch=8, precision="bf16-mixed")
    rough = fit(network(), squares(), squares(seed=1), settings, tmp_path / "rough", QUIET)
    fine = fit(network(), squares(), squares(seed=1), replace(settings, precision="32"), tmp_path / "fine", QUIET)
    assert rough.precision == "bf16-mixed"
    for name, value in fine.weights.items():
        assert rough.weights[name].dtype == value.dtype
        torch.testing.assert_close(rough.weights[name], value, rtol=0.2, atol=0.02)
    assert rough.history[0].loss != fine.history[0].loss
    assert rough.history[0].loss == pytest.approx(fine.history[0].loss, abs=0.01)
    assert resolved("auto", "cpu") in ("32", "bf16-mixed")
    with pytest.raises(UsageError, match="does not train in float16"):
        resolved("16-mixed", "cpu")


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_rises_and_falls(schedule):
    rates = [rate(step, 100, 0.2, schedule) for step in range(101)]
    assert rates[20] == 1.0
    assert np.diff(rates[:21]).min() > 0 > np.diff(rates[20:]).max()
    assert rates[60] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rate(0, 1, 0.0, schedule) == 1.0


def test_progress_is_told_line_by_line(tmp_path, capsys):
    fit(network(), squares(8), squares(8, seed=1), Settings(epochs=2, batch=8, precision="32"), tmp_path, Progress())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch 1 of 2: loss ")
    assert "best so far" in lines[0]
    assert lines[1] == "training steps: 4 of 4"
    assert lines[2].startswith("epoch 2 of 2: loss ")
    assert len(lines) == 3
