"""The benchmarks measure what they say: all images on both sides, whole results, children's memory. Seconds don't count here."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from medcam.errors import ExplainError
from medcam.models import load_bundle
from medcam.models.resnet import ResNet
from medcam.results import Results
from medcam.screening import Options, screen
from sample_data import chest_xray
from tests.benchmarks import curriculum, dropout, index, inputs, loop, memory, screening
from tests.benchmarks.measure import Row, cpu_seconds, interleaved, ratios, seconds, spread
from tests.benchmarks.pages import PAGES, section
from tests.uncertainty.nets import Dropping

SMALL = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2)}


@pytest.fixture
def job(tmp_path):
    bundle = inputs.bundle(tmp_path / "bundle", "chest_xray_opacity", "DenseNet", "xray", (64, 64), SMALL)
    return screening.Job(inputs.xrays(tmp_path / "xrays", 6, 256), "chest_xray_opacity", bundle, 4)


def test_sides_take_turns():
    order = []
    costs = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == ["a", "b"] * 3
    assert {name: len(each) for name, each in costs.items()} == {"a": 3, "b": 3}
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert spread([1.0, 4.0, 2.0], 1, " s") == "2.0 s (1.0 to 4.0)"


def test_processor_time_counts_subprocesses_and_waiting_does_not():
    code = "import time\nwhile time.process_time() < 0.3: pass"
    sides = {"busy": lambda: subprocess.run([sys.executable, "-c", code], check=True), "idle": lambda: time.sleep(0.3)}
    costs = interleaved(sides, rounds=1)
    assert seconds(costs["busy"])[0] > 0.29 < seconds(costs["idle"])[0]
    assert cpu_seconds(costs["busy"])[0] > 0.2 > 0.1 > cpu_seconds(costs["idle"])[0]


@pytest.mark.filterwarnings("ignore")  # what MONAI says of its readers, of DX without a place in space, and of hooks
def test_the_loop_explains_every_image(job):
    model = load_bundle(job.bundle).model
    row = loop.compare(model, sorted(job.folder.iterdir()), (64, 64), "class_layers.relu", rounds=1)
    assert "over 6 images" in row.measured
    assert float(row.value.split()[0]) > 0


def test_both_sides_of_the_screening_do_the_same_work(job, tmp_path):
    assert job.decode() == 6
    tensors = job.inputs(tmp_path / "scratch")
    assert len({tensor.sum().item() for tensor in tensors}) == inputs.DIFFERENT
    row = screening.compare(job, tmp_path, rounds=1)
    assert row.measured == "screening of 6 images, DenseNet at 64 x 64 over bare"
    assert float(row.value.split()[0]) > 0
    assert not (tmp_path / "results").exists()


def test_screening_counts_and_stores_every_image(job, tmp_path):
    with screening.counted(type(load_bundle(job.bundle).model)) as rows:
        outcome = screen(
            job.folder, tmp_path / "kept", Options((job.pipeline,), {job.pipeline: str(job.bundle)}, uncertainty="none")
        )
    assert sum(rows) == len(outcome.rows) == 6
    results = Results.open(tmp_path / "kept")
    cases = [results.case(key) for key in results.keys()]  # noqa: SIM118  # a method, not a mapping
    results.close()
    assert len({case.study_key for case in cases}) == len({case.patient_key for case in cases}) == 6
    assert all(np.isfinite(case.explanation.evidence).all() and case.key_images for case in cases)


def test_unequal_work_is_no_comparison(job, tmp_path):
    lateral = replace(chest_xray.phantom(7, sick=False), view="LL")  # decoded by both sides, scored by one
    chest_xray.write(lateral, job.folder, inputs.patient(7), inputs.study("dx", 7), name="lateral.dcm")
    with pytest.raises(RuntimeError, match="unequal work: 6 cases"):
        screening.compare(job, tmp_path, rounds=1)


def test_all_passes_of_dropout_are_timed():
    small = Dropping(0.5, 0.0).eval()
    rows = []
    small.fc.register_forward_hook(lambda module, args, output: rows.append(len(output)))
    row = dropout.compare("small", small, torch.randn(2, 1, 16, 16), "body", rounds=3)
    assert row.measured == "20 passes of Monte-Carlo dropout, small, 2 x 1 x 16 x 16, in forwards"
    assert float(row.value.split()[0]) > 0
    assert rows.count(20 * 2) == 1 + 3, "the tail of two images, in every round and once before"
    with pytest.raises(ExplainError, match="no-dropout"):
        dropout.compare("none", Dropping(0.0, 0.0).eval(), torch.randn(2, 1, 16, 16), "body", rounds=1)


def test_index_counts_files_only_if_all_are_used(tmp_path):
    images = inputs.ct_series(tmp_path / "ct", 2, 12, 64)
    row = index.files_per_second(images, tmp_path / "headers.sqlite", 2, 12, rounds=1)
    assert float(row.value.split()[0].replace(",", "")) > 0
    next((images / "CT001").iterdir()).unlink()
    with pytest.raises(RuntimeError, match="files of the series"):
        index.files_per_second(images, tmp_path / "headers.sqlite", 2, 12, rounds=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_of_children_counts():
    code = "import sys; block = bytearray(80 << 20); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert child.pid in memory.family(os.getpid())
        assert 80 < memory.resident_mib(child.pid) < 160
        child.stdin.close()
    assert child.pid not in memory.family(os.getpid())
    assert memory.resident_mib(child.pid) == 0


def test_a_page_keeps_the_sections_that_were_not_made_anew_and_tells_no_path(tmp_path):
    page = PAGES[0]
    made = {
        name: section(name, [Row(f"files of {name}", "3 (1 to 5)", "at least 2")], "x", 1.25) for name in page.names
    }
    page.write(made, tmp_path)
    again = section("index", [Row("files anew", "4", "at least 2")], "x", 0.0)
    page.write({"index": again}, tmp_path)
    text = (tmp_path / page.file).read_text()
    assert [text.count(f"## {name}\n") for name in page.names] == [1] * len(page.names)
    assert "| files anew | 4 | at least 2 |" in text
    assert "files of index" not in text
    assert "| files of memory | 3 (1 to 5) | at least 2 |" in text
    assert "load average 1.2 at the start" in text
    assert os.uname().nodename not in text
    assert str(Path.cwd()) not in text


@pytest.mark.filterwarnings("ignore")
def test_the_curriculum_is_compared_in_the_sizes_it_should_have(tmp_path):
    network = partial(ResNet, widths=[4], blocks=[1], strides=[1])
    row = curriculum.compare("tiny", network, tmp_path, (64, 64), 16, rounds=1)
    assert row.wanted.startswith("0.40 ")  # three of five epochs at 32 x 32, one at 32 x 32, the last at 64 x 64
    assert float(row.value.split()[0]) > 0
    assert not list(tmp_path.iterdir())
