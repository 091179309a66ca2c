"""Phantoms with exact truth, written as real DICOM.

Nothing in here imports medcam: the package is an independent witness of what the toolkit should find. Each modality is
one module with two functions, `phantom(seed, sick)` and `write(phantom, folder, patient, study, ...)`; `archive`
composes them into a folder such as a hospital would hand over, with its truth beside it. `python -m sample_data OUT`
writes one.
"""
