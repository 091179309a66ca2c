import io

import numpy as np
from PIL import Image

from medcam.training.fitted import Epoch, Fitted, best, done
from medcam.training.settings import Settings


def history(*figures):
    return tuple(
        Epoch(number, 0.5, loss, area, 1e-3, 2.0, (8, 8)) for number, (area, loss) in enumerate(figures, start=1)
    )


def test_auroc_decides_and_the_loss_between_equals():
    assert best(history((0.7, 0.3), (0.8, 0.6), (0.8, 0.5), (0.8, 0.5))).number == 3
    assert best(history((None, 0.4), (None, 0.3), (None, 0.5))).number == 2


def test_it_ends_when_nothing_was_better_for_long():
    shown = history((0.7, 0.3), (0.8, 0.3), (0.6, 0.3), (0.7, 0.3), (0.75, 0.3))
    assert [done(shown[:n], Settings(epochs=9, patience=2)) for n in range(6)] == [False] * 4 + [True] * 2
    assert [done(shown[:n], Settings(epochs=5, patience=None)) for n in range(6)] == [False] * 5 + [True]


def test_curves_can_be_seen():
    fitted = Fitted({}, history((None, 0.6), (0.7, 0.5), (0.8, 0.4)), Settings(), "32")
    assert (fitted.best_epoch, fitted.seconds) == (3, 6.0)
    picture = np.asarray(Image.open(io.BytesIO(fitted.curves())).convert("RGB"))
    assert picture.shape == (300, 800, 3)
    blue = (np.abs(picture.astype(int) - [31, 119, 180]).sum(-1) < 30).nonzero()
    assert blue[1].max() < 400  # the training loss, on the left
    assert np.ptp(blue[1]) > 150


def test_where_too_few_validate_the_last_epoch_is_kept_and_nobody_waits() -> None:
    told = history((0.8, 0.3), (0.7, 0.4), (0.6, 0.5))
    assert best(told, "last").number == 3
    assert not done(told, Settings(epochs=9, patience=2, keep="last"))
    assert done(told, Settings(epochs=9, patience=2))
