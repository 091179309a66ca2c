"""A hundred kills."""

import os

import pytest

from tests.stand_ins import save_stand_in
from tests.torture.killing import torment


@pytest.mark.torture
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_screening_killed_a_hundred_times_ends_like_an_unbroken_one(tmp_path):
    done = torment(tmp_path, save_stand_in(tmp_path / "bundle", "chest_xray_opacity"), images=30, kills=100)
    assert done.kills == 100
    assert done.in_the_middle > 10
