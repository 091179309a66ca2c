"""The claim of the page about grouped Score-CAM, on a few phantoms of the bundle that is quickest."""

import re

from tests.benchmarks.scorecam import SETTINGS, WANTED, compare


def test_grouped_scorecam_ranks_as_plain_with_a_tenth_of_the_forward_passes():
    rows = compare("histology_tumour", 2)
    assert len(rows) == len(SETTINGS)
    for words, row in zip(SETTINGS, rows, strict=True):
        fewer = re.search(r"; ([0-9.]+) \(.*\) times fewer forward passes", row.details)
        assert fewer is not None
        assert float(fewer[1]) >= 10
        assert "of 1: plain" in row.details
        assert words in row.measured
        if words in WANTED:
            assert float(row.value.split(" ")[0]) >= 0.9
