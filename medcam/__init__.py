"""medcam: explainability for medical imaging, from a DICOM folder to a reviewed report."""

__version__ = "0.1.0"
