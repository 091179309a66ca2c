"""A small results folder with one case per kind of series, made of shapes whose places are known."""

from pathlib import Path

import numpy as np

from medcam.display import png, to_bytes
from medcam.findings import (
    Case,
    Explanation,
    KeyImage,
    LeftOut,
    Prediction,
    Provenance,
    Refusal,
    Region,
    Uncertainty,
    decide,
)
from medcam.grid import Grid, resample
from medcam.results import Results
from medcam.study import Identifiers, Kind, Pixels, Reason, Series, SourceFile

PATIENT = "Canary^Patient"
PATIENT_ID = "PID-CANARY-77"


def source_grid(kind: Kind) -> Grid:
    """The grid of a source: volume 12 x 64 x 80 at 5 x 2 x 2 mm, cine 10 x 60 x 80, image 120 x 100, slide 256 x 256."""
    if kind == "volume":
        affine = [[0, 0, -2, 80], [0, -2, 0, 64], [5, 0, 0, -30], [0, 0, 0, 1]]
        return Grid.of((12, 64, 80), affine, space="patient", mm_known=True, frame_of_reference="1.2.3")
    if kind == "cine":
        times = tuple(0.05 * frame for frame in range(10))
        return Grid.plane((10, 60, 80), (0.5, 0.5), space="detector", mm_known=True, frame_times_s=times)
    if kind == "slide":
        return Grid.plane((256, 256), (0.0005, 0.0005), space="detector", mm_known=True)
    return Grid.plane((120, 100), (1.5, 1.5), space="detector", mm_known=True, patient_orientation=("L", "F"))


def make_case(results: Results, kind: Kind, logit: float, patient: str = "1") -> Case:
    """Store one case: a bright square in the source and hot evidence on the same place."""
    grid = source_grid(kind)
    colour = kind in ("slide", "cine")
    start = tuple(size // 2 for size in grid.shape)
    stop = tuple(size // 2 + max(2, size // 8) for size in grid.shape)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    rng = np.random.default_rng(7)
    array = rng.normal(60, 10, grid.shape).astype(np.float32)
    array[box] += 120
    if kind == "volume":
        array = array * 8 - 1000
    if colour:
        array = np.repeat(array[..., None], 3, axis=-1).clip(0, 255).astype(np.uint8)
    unit = "HU" if kind == "volume" else "RGB" if colour else "grey"
    window = (-600.0, 1500.0) if kind == "volume" else None
    whole = None
    if kind == "slide":
        pixels = Pixels(array[None], grid, True, "RGB", origins=((0, 0),))
        whole = grid
    else:
        pixels = Pixels(array, grid, colour, unit, window)
    coarse = grid.resized(tuple(max(2, size // 8) if size > 20 else size for size in grid.shape))
    hot = np.zeros(grid.shape, np.float32)
    hot[box] = 4.0
    evidence = resample(hot, grid, coarse)
    peak = tuple((a + b) // 2 for a, b in zip(start, stop, strict=True))
    index = peak[0] if len(grid.shape) == 3 else None
    spatial = grid.spacing[-len(grid.shape) :] if kind == "volume" else grid.spacing[-2:]
    sizes = tuple((b - a) * s for a, b, s in zip(start[-len(spatial) :], stop[-len(spatial) :], spatial, strict=True))
    times = grid.frame_times_s
    region = Region(
        start,
        stop,
        peak,
        4.0,
        0.9,
        2.0,
        sizes,
        (1.0, 2.0, 3.0),
        (times[start[0]], times[stop[0] - 1] + 0.05) if times else None,
    )
    pipeline = {"volume": "chest_ct_nodule", "cine": "lung_ultrasound", "slide": "histology_tumour"}.get(
        kind, "chest_xray_opacity"
    )
    modality = {"volume": "CT", "cine": "US", "slide": "SM"}.get(kind, "DX")
    source = SourceFile(f"/archive/{PATIENT_ID}/{kind}{patient}.dcm", 10, 20, f"1.2.3.{patient}.{kind}", "1.2")
    series = Series(
        "dicom",
        kind,
        modality,
        (source,),
        tuple((0, i) for i in range(grid.shape[0] if index is not None else 1)),
        grid,
        colour,
        {"BodyPartExamined": "CHEST"},
        Identifiers(PATIENT_ID + patient, PATIENT, "ACC1", f"1.2.3.{patient}", f"1.2.3.{patient}.4"),
    )
    prediction = Prediction(
        "opacity" if kind == "image" else "nodule",
        1 / (1 + np.exp(-logit)).item(),
        logit,
        0.5,
        "Youden on 60 validation phantoms",
    )
    scores = {f"shift {i}": prediction.score + 0.02 * (i - 3.5) for i in range(8)}
    uncertainty = Uncertainty("augmentation", scores, float(np.std(list(scores.values()))))
    plane = pixels.plane(0 if kind == "slide" else index)
    picture = KeyImage(index, "key_0.png", window, "peak of the evidence", whole)
    case = Case(
        key=results.case_key(series, pipeline),
        study_key=results.study_key(series),
        patient_key=results.patient_key(series),
        pipeline=pipeline,
        question="Is there a finding?",
        finding=prediction.finding,
        modality=modality,
        kind=kind,
        facts=series.facts,
        grid=grid,
        phantom=False,
        prediction=prediction,
        uncertainty=uncertainty,
        explanation=Explanation(
            "gradcam",
            "layer4",
            prediction.finding,
            "logit",
            False,
            True,
            coarse,
            grid,
            evidence,
            evidence / 10,
            (0.0, 4.0),
        ),
        regions=(region,),
        decision=decide(prediction, uncertainty, demonstration=kind == "cine"),
        key_images=(picture,),
        selection="the only series of the study",
        left_out=(LeftOut("CT localiser", Reason("localiser", "ImageType LOCALIZER")),),
        limits="Made for tests.",
        provenance=Provenance(
            "0.1.0",
            {"torch": "2.13.0"},
            pipeline,
            "p" * 64,
            f"{pipeline} demonstration",
            "1",
            "m" * 64,
            "s" * 64,
            ("rescale",),
            "cpu",
            "2026-01-01T00:00:00Z",
        ),
        codes={"finding": ("128477000", "SCT", "Abscess"), "site": ("39607008", "SCT", "Lung")},
    )
    results.add(case, series, {"key_0.png": png(to_bytes(plane, window))}, pixels)
    return case


def make_results(folder: Path) -> list[Case]:
    """Six cases over four kinds, flagged, not flagged, refer and demonstration, and one refusal."""
    with Results.writer(folder) as results:
        cases = [
            make_case(results, "image", 2.0),
            make_case(results, "image", -3.0, "2"),
            make_case(results, "image", 0.01, "3"),
            make_case(results, "volume", 1.5, "4"),
            make_case(results, "cine", 1.0, "5"),
            make_case(results, "slide", -1.0, "6"),
        ]
        results.refuse(
            [
                Refusal(
                    "abc",
                    "def",
                    "chest_ct_nodule",
                    "CT, 40 slices",
                    "refused",
                    Reason("missing-slices", "gap of 10 mm after slice 12"),
                )
            ]
        )
    return cases
