"""Frontal chest X-ray: is there an opacity in the lungs?

Reads CR and DX images whose tags say chest and PA or AP. Lateral views, other body parts and images that state
neither are not scored. Portable AP images are accepted: the score has seen both.
"""

from medcam.pipeline import Accepts, Pipeline

PIPELINE = Pipeline(
    question="Is there an opacity in the lungs?",
    finding="opacity",
    accepts=Accepts(
        modalities=("DX", "CR"),
        kinds=("image",),
        anatomy="chest",
        body_parts=("CHEST", "THORAX", "LUNG"),
        views=("PA", "AP"),
    ),
    transform="xray",
    model="chest_xray_opacity",
    codes={
        "finding": ("opacity", "99MEDCAM", "Pulmonary opacity"),
        "site": ("39607008", "SCT", "Lung"),
    },
    limits=(
        "The demonstration model was trained on simulated X-rays only and decides nothing about a patient. "
        "It has not seen children, implants, effusions or lateral views."
    ),
)
