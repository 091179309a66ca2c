import subprocess
import sys

import numpy as np
import pytest
from monai.transforms import Compose

from medcam.errors import InputError, UsageError
from medcam.grid import Grid
from medcam.study import Pixels
from medcam.transforms import SHELF, compose, prepare


def test_the_shelf_lists_what_the_folder_holds_and_imports_no_torch() -> None:
    code = "import sys; from medcam.transforms import SHELF; print(SHELF.names(), 'torch' in sys.modules, 'monai' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['ct', 'histology', 'ultrasound', 'xray'] False False"


def test_a_mistyped_transform_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean xray"):
        compose("x-ray")


def test_values_that_are_not_numbers_are_refused() -> None:
    array = np.ones((8, 8), np.float32)
    array[3, 3] = np.nan
    with pytest.raises(InputError) as caught:
        prepare(Pixels(array, Grid.plane((8, 8)), False, "grey"), compose("xray", size=(8, 8)))
    assert caught.value.code == "preparation-failed"


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "float64"])
def test_read_only_pixels_of_any_type_are_taken_and_left_alone(kind: str) -> None:
    array = (np.arange(64).reshape(8, 8) * 3).astype(kind)
    array.setflags(write=False)
    before = array.copy()
    prepared = prepare(Pixels(array, Grid.plane((8, 8)), False, "grey"), compose("xray", size=(8, 8)))
    assert prepared.tensor.dtype.is_floating_point
    np.testing.assert_array_equal(array, before)


def test_a_transform_that_writes_reaches_neither_the_file_nor_who_else_looks_at_it(tmp_path) -> None:
    def invert(image):
        return image.mul_(-1)

    values = np.arange(3 * 8 * 8, dtype=np.int16).reshape(3, 8, 8)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    for array in (mapped, mapped[1]):
        prepared = prepare(Pixels(array, Grid.plane(array.shape), False, "grey"), Compose([invert]))
        np.testing.assert_array_equal(prepared.tensor[0, 0].numpy(), -np.asarray(array, np.float32))
    np.testing.assert_array_equal(mapped, values)
    np.testing.assert_array_equal(np.load(tmp_path / "values.npy"), values)


def test_the_steps_say_what_was_done_in_order() -> None:
    pixels = Pixels(np.eye(8, dtype=np.float32), Grid.plane((8, 8)), False, "grey", steps=("inverted MONOCHROME1",))
    steps = prepare(pixels, compose("xray", size=(4, 4))).steps
    assert steps == (
        "inverted MONOCHROME1",
        "Grey()",
        "Fit(size=(4, 4))",
        "Stretch(lower=1.0, upper=99.0)",
        "ResizeWithPadOrCrop",
        "(1, 4, 4) at 2 x 2",
    )


def test_every_member_takes_facts_first_and_has_defaults() -> None:
    for name in SHELF.names():
        assert compose(name, {"Modality": "any"}).flatten().transforms
