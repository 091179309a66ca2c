"""Lung ultrasound cine: are there B-lines or consolidations below the pleura?

Reads cines of at least eight frames whose tags say lung or chest. Echocardiograms, obstetric and abdominal cines
carry the same modality: without a stated anatomy nothing is scored.
"""

from medcam.pipeline import Accepts, Pipeline

PIPELINE = Pipeline(
    question="Are there B-lines or subpleural consolidations?",
    finding="B-lines or consolidation",
    accepts=Accepts(
        modalities=("US",),
        kinds=("cine",),
        anatomy="lung",
        body_parts=("LUNG", "CHEST", "THORAX", "PLEURA"),
        least_slices=8,
    ),
    transform="ultrasound",
    model="lung_ultrasound",
    codes={
        "finding": ("interstitial-syndrome", "99MEDCAM", "B-lines or subpleural consolidation"),
        "site": ("39607008", "SCT", "Lung"),
    },
    limits=(
        "The demonstration model was trained on simulated convex cines only and decides nothing about a patient. "
        "It has not seen linear probes, effusions or moving probes."
    ),
)
