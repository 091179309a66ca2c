"""Breast histopathology, H&E: does the tissue contain tumour?

Reads microscopy images and whole slides whose tags say breast. A slide is read tile by tile at about 0.5 um per pixel;
its score is pooled from the tiles and its map is stitched on the slide.
"""

from medcam.pipeline import Accepts, Pipeline

PIPELINE = Pipeline(
    question="Does the tissue contain tumour?",
    finding="tumour",
    accepts=Accepts(
        modalities=("SM", "GM", "XC"),
        kinds=("image", "slide"),
        anatomy="breast",
        body_parts=("BREAST",),
    ),
    transform="histology",
    model="histology_tumour",
    codes={
        "finding": ("108369006", "SCT", "Neoplasm"),
        "site": ("76752008", "SCT", "Breast"),
    },
    limits=(
        "The demonstration model was trained on simulated tissue only and decides nothing about a patient. "
        "It has not seen other stains, scanners or kinds of tissue."
    ),
)
