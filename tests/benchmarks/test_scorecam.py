"""The claim of the page about grouped Score-CAM, on a few phantoms of the bundle that is quickest."""

import re

from tests.benchmarks.scorecam import compare


def test_grouped_scorecam_ranks_as_plain_with_a_tenth_of_the_forward_passes():
    rows = compare("histology_tumour", 2)
    assert len(rows) == 2
    for row in rows:
        fewer = re.search(r"; ([0-9.]+) \(.*\) times fewer forward passes", row.details)
        assert fewer is not None
        assert float(fewer[1]) >= 10
        assert float(row.value.split(" ")[0]) >= 0.9
        assert "of 1: plain" in row.details
