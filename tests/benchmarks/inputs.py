"""What the benchmarks read: folders of DICOM files made from a few phantoms, and bundles with untrained weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medcam.models import Card, save_bundle
from sample_data import chest_ct, chest_xray, dicom
from sample_data.phantom import Phantom

DIFFERENT = 2
"""Pixel arrays that are really drawn; every file has its own identifiers."""


def xrays(folder: Path, count: int, pixels: int) -> Path:
    """`count` chest X-rays (DX, 12 bits, not compressed) of `pixels` x `pixels`, one patient and study each."""
    drawn = [
        _enlarged_xray(chest_xray.phantom(seed, sick=False), pixels, seed) for seed in range(min(DIFFERENT, count))
    ]
    for number in range(count):
        name = f"IM{number:04d}.dcm"
        chest_xray.write(drawn[number % len(drawn)], folder, patient(number), study("dx", number), name=name)
    return folder


def ct_series(folder: Path, count: int, slices: int, pixels: int) -> Path:
    """`count` chest CT series of `slices` files (16 bits, not compressed) of `pixels` x `pixels`, one patient each."""
    drawn = [
        _enlarged_ct(chest_ct.phantom(seed, sick=False), slices, pixels, seed) for seed in range(min(DIFFERENT, count))
    ]
    for number in range(count):
        chest_ct.write(drawn[number % len(drawn)], folder / f"CT{number:03d}", patient(number), study("ct", number))
    return folder


def bundle(
    folder: Path,
    pipeline: str,
    network: str,
    transform: str,
    size: tuple[int, ...],
    arguments: dict[str, object] | None = None,
    **options: object,
) -> Path:
    """A bundle of one of MONAI's networks, with one logit and random weights.

    Args:
        network: a class of `monai.networks.nets`.
        transform: "xray" or "ct".
        size: of the network's input.
        arguments: more of the network's.
        options: more of the transform's.
    """
    from monai.networks import nets

    torch.manual_seed(0)
    arguments = {"spatial_dims": len(size), "in_channels": 1, "out_channels": 1, **(arguments or {})}
    card = Card(
        name=network,
        version="0",
        pipeline=pipeline,
        labels=({"xray": "opacity", "ct": "nodule"}[transform],),
        head="single-logit",
        threshold=0.5,
        threshold_origin="none: the weights are random",
        transform=transform,
        transform_options={"size": size, **options},
    )
    definition = {"_target_": f"monai.networks.nets.{network}", **arguments}
    modality = {"xray": "DX", "ct": "CT"}[transform]
    model = getattr(nets, network)(**arguments).eval()
    save_bundle(folder, model, definition, card, "Random weights.", input_shape=(1, *size), modality=modality)
    return folder


def _enlarged_xray(phantom: Phantom, pixels: int, seed: int) -> Phantom:
    scale = pixels / len(phantom.pixels)
    film = _linear(phantom.pixels, (pixels, pixels)) + _noise((pixels, pixels), seed) * 0.004
    spacing = tuple(mm / scale for mm in phantom.spacing)
    return replace(phantom, pixels=film.clip(0, 1), mask=np.zeros(film.shape, dtype=bool), spacing=spacing)


def _enlarged_ct(phantom: Phantom, slices: int, pixels: int, seed: int) -> Phantom:
    shape = (slices, pixels, pixels)
    spacing = tuple(mm * old / new for mm, old, new in zip(phantom.spacing, phantom.pixels.shape, shape, strict=True))
    volume = _linear(phantom.pixels, shape)
    for index in range(slices):
        volume[index] += _noise(shape[1:], seed + index) * 15
    return replace(
        phantom, pixels=volume.clip(-1024, 3071), mask=np.broadcast_to(np.False_, shape).copy(), spacing=spacing
    )


def _linear(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    mode = {2: "bilinear", 3: "trilinear"}[values.ndim]
    tensor = torch.as_tensor(np.asarray(values, dtype=np.float32))[None, None]
    return torch.nn.functional.interpolate(tensor, shape, mode=mode)[0, 0].numpy()


def _noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def patient(number: int) -> dicom.Patient:
    """The `number`-th patient."""
    return dicom.Patient(f"B{number:05d}", f"Bench^{number}", "O", "19700101")


def study(kind: str, number: int) -> dicom.Study:
    """A study of its own for each image or series."""
    return dicom.Study(dicom.uid("benchmark", kind, number), str(number), "20240101", "120000", "benchmark")
