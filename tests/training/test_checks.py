import numpy as np
import pytest
import torch
from torch import nn

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.errors import UsageError
from medcam.models.resnet import ResNet
from medcam.training.checks import check, check_network
from tests.training.in_memory import squares


def examples(targets, patients, labelling=None, images=None):
    names = [f"{patients[:1]}{number}" for number in range(len(targets))] if isinstance(patients, str) else patients
    images = torch.zeros(len(targets), 1, 8, 8) if images is None else images
    labelling = labelling or Labelling.binary("mass", ["1"], ["0"])
    targets = np.reshape(targets, (len(targets), len(labelling.names)))
    return Images.of(images, targets, names, labelling)


def refusal(training, validation):
    with pytest.raises(UsageError) as caught:
        check(training, validation)
    return caught.value.code, str(caught.value)


GOOD = examples([1, 1, 0, 0], "v")


def test_sound_data_pass():
    check(squares(), squares(seed=1))


def test_one_class():
    assert refusal(examples([1, 1, 1], "t"), GOOD) == (
        "one-class",
        'No training example is "not mass"; add some or leave the label out. [one-class]',
    )
    assert refusal(GOOD, examples([0, 0], "w"))[0] == "one-class"
    assert refusal(GOOD, examples([], "w"))[0] == "one-class"


def test_a_class_of_one_patient():
    code, words = refusal(examples([1, 1, 0, 0], ["a", "a", "b", "c"]), GOOD)
    assert code == "too-few-patients"
    assert 'Only one training patient is "mass"' in words
    check(examples([1, 1, 0, 0], ["a", "b", "b", "a"]), GOOD)


def test_missing_labels():
    code, words = refusal(examples([1, 1, float("nan"), 0, 0], "t"), GOOD)
    assert code == "missing-labels"
    assert "1 of 5 training examples, the first is number 2" in words
    three = Labelling.classes({"a": ["a"], "b": ["b"], "c": ["c"]})
    rows = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    sound = examples(rows, "v", three)
    check(examples(rows, "t", three), sound)
    rows[3] = 0
    assert refusal(examples(rows, "t", three), sound)[0] == "missing-labels"
    assert refusal(GOOD, sound)[0] == "labels-differ"


def test_patients_are_named_and_on_one_side():
    assert refusal(examples([1, 1, 0, 0], ["a", "b", "c", ""]), GOOD)[0] == "missing-patient"
    code, words = refusal(examples([1, 1, 0, 0], ["a", "v2", "c", "d"]), GOOD)
    assert code == "patient-leak"
    assert "v2" in words


def test_images_fit_together():
    assert refusal(examples([1, 1, 0, 0], "t", images=torch.zeros(4, 3, 8, 8)), GOOD)[0] == "mixed-colour"
    code, words = refusal(examples([1, 1, 0, 0], "t", images=torch.zeros(4, 1, 8, 9)), GOOD)
    assert code == "mixed-size"
    assert "1 x 8 x 8, 1 x 8 x 9" in words


def test_the_network_takes_every_size_and_gives_every_logit():
    data = squares(size=(32, 32))
    check_network(ResNet(widths=[4], blocks=[1], strides=[1]), data, [(16, 16), (32, 32)])
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 1))
    check_network(fixed, data, [(32, 32)])
    with pytest.raises(UsageError, match="does not take images of 1 x 16 x 16") as caught:
        check_network(fixed, data, [(16, 16), (32, 32)])
    assert caught.value.code == "network-input"
    with pytest.raises(UsageError, match=r"gives \(1, 2\) for one image and 1 label"):
        check_network(ResNet(widths=[4], blocks=[1], strides=[1], out_channels=2), data, [(32, 32)])
    assert fixed.training
