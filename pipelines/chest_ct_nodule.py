"""Chest CT: is there a solid nodule in the lungs?

Reads original axial or oblique series of at least 20 slices whose tags say chest. Of several series of a study the one
with the most slices is scored; the others are named with the reason.
"""

from medcam.pipeline import Accepts, Pipeline

PIPELINE = Pipeline(
    question="Is there a solid nodule of 6 to 30 mm in the lungs?",
    finding="nodule",
    accepts=Accepts(
        modalities=("CT",),
        kinds=("volume",),
        anatomy="chest",
        body_parts=("CHEST", "THORAX", "LUNG"),
        least_slices=20,
        prefer="thinnest",
    ),
    transform="ct",
    model="chest_ct_nodule",
    codes={
        "finding": ("27925004", "SCT", "Nodule"),
        "site": ("39607008", "SCT", "Lung"),
    },
    limits=(
        "The demonstration model was trained on simulated CT only and decides nothing about a patient. "
        "It has not seen contrast, motion, pneumonia or nodules on the pleura."
    ),
)
