import json

import pytest

from medcam.errors import UsageError
from medcam.training.curriculum import Curriculum
from medcam.training.settings import Settings


def test_they_survive_json():
    chosen = Settings(alpha="given", weights=(0.3, 0.7), flips=(1,), curriculum=Curriculum(stride=16), patience=None)
    assert Settings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen


@pytest.mark.parametrize("balance", ["image", "patient"])
def test_rare_classes_are_not_favoured_twice(balance):
    with pytest.raises(UsageError, match="count too much") as caught:
        Settings(alpha="counts", balance=balance)
    assert caught.value.code == "double-correction"
    assert Settings(alpha="counts", balance=balance, correct_twice=True).balance == balance
    assert Settings(alpha="counts").alpha == "counts"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs is 0, but must be at least 1"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"smoothing": 1.0}, "smoothing is 1.0, but must be from 0 to below 1"),
        ({"schedule": "steps"}, "one of one-cycle, cosine"),
        ({"alpha": "given"}, 'given with alpha "given" only'),
        ({"weights": (1.0, 2.0)}, 'given with alpha "given" only'),
        ({"batch": 9, "devices": 2}, r"batch is 9, but must be a multiple of devices \(2\)"),
    ],
)
def test_nonsense_is_named(change, words):
    with pytest.raises(UsageError, match=words):
        Settings(**change)
