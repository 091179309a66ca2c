"""The error tree: every refusal has a stable code and one sentence that says what to do.

MedcamError
├── UsageError        what was asked for cannot be done as it was asked (exit code 2)
│   └── ResultsError  a results folder that cannot be read or written
├── InputError        a file or series that cannot be used safely
│   └── BudgetError   it would need more memory, time or depth than allowed
├── ModelError        weights, bundles and their metadata
├── TrainingError     training that cannot start or go on
└── ExplainError      a map that cannot be had honestly
"""

REASONS: dict[str, str] = {
    # expected exclusions: skipped
    "not-an-image": "No reader knows this file as an image; leave it out or convert it.",
    "no-pixels": "The object carries no pixels to look at (a report, a plan, a directory).",
    "localiser": "A localiser or scout is not part of the volume; nothing to do.",
    "derived": "A derived or screen-saved image is not a source image; give the original series.",
    "segmentation": "A segmentation or parametric map is a result, not a source image.",
    "label-image": "A slide's label or overview image can show the patient's name; only the volume image is read.",
    "duplicate": "The same object is here twice, byte for byte or by its UID; one copy is used.",
    "other-modality": "No chosen pipeline reads this modality; choose another pipeline with --pipeline.",
    "other-anatomy": "The tags name another part of the body than the pipeline asks about.",
    "other-view": "The pipeline was not made for this view; give the view it names.",
    "other-kind": "The pipeline reads another kind of series (image, volume, cine or slide).",
    "not-preferred": "Another series of the same study fits the pipeline better; see which one in the reason.",
    "too-few": "The series has fewer slices or frames than the pipeline needs.",
    "other-object": "This kind of DICOM object is not an image that medcam reads; nothing to do.",
    "symbolic-link": "Links are not followed; copy the file into the folder.",
    # eligible, but not safe: refused
    "unreadable": "The file could not be read; check it with its source system and export it again.",
    "truncated": "The file ends before its pixels do; export it again.",
    "malformed": "The file breaks its own format; export it again.",
    "deflated": "Deflated transfer syntax can hide a decompression bomb; re-export it uncompressed.",
    "transfer-syntax": "No decoder here reads this transfer syntax; re-export it in another one.",
    "decode-failed": "The decoder rejected the pixels; export the image again, uncompressed if possible.",
    "decoder-crashed": "The decoder died on this file and was started again; treat the file as hostile.",
    "timeout": "Decoding took longer than allowed; raise MEDCAM_DECODE_SECONDS if the file is trusted.",
    "too-large": "The pixels would need more memory than allowed; raise MEDCAM_DECODE_GIB if the file is trusted.",
    "too-deep": "The header is nested deeper than any sound file; treat it as hostile.",
    "photometric": "The photometric interpretation is not one that can be turned into grey or RGB; convert it.",
    "no-geometry": "Positions or orientations are missing, so slices cannot be put in order.",
    "missing-slices": "Slices are missing or unevenly spaced; fetch the complete series.",
    "gantry-tilt": "The slices are sheared by gantry tilt; resample the series upright first.",
    "duplicate-positions": "Two different slices claim one position; split the series by acquisition.",
    "conflicting-copies": "Different objects carry one SOP Instance UID; find out which of them is right.",
    "mixed-times": "Several time points are mixed in one series; split it by time.",
    "mixed-geometry": "Slices differ in size, spacing or orientation; split the series.",
    "mixed-frame-of-reference": "Slices come from different frames of reference; split the series.",
    "concatenation": "Only some parts of a concatenated object are here; fetch all of them.",
    "anatomy-not-stated": "The tags do not say which anatomy or view this is; state it with --assume-anatomy.",
    "modality-not-stated": "The file does not say how it was made; name one --pipeline and its --assume-anatomy.",
    "empty": "The file or series holds no image.",
    "not-one-image": "A row of a manifest is one image, cine or series; give each its own row.",
    "source-replaced": "Another series lies where this one lay; its own case tells about it.",
    # work that failed
    "preparation-failed": "The transforms could not be applied; see the detail.",
    "model-failed": "The model could not score this series; see the detail.",
    "not-finite": "The model gave NaN or infinity; the weights or the input are damaged.",
    "storage-failed": "The result could not be stored; free some disk space and run the command again.",
}
"""What each code means to the person who has to act on it."""


class MedcamError(Exception):
    """Anything medcam refuses: a stable `code`, and a message that says what happened and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return f"{self.args[0]} [{self.code}]"

    def __reduce__(self) -> tuple[type["MedcamError"], tuple[str, str]]:
        return type(self), (self.code, str(self.args[0]))


class UsageError(MedcamError):
    """What was asked for cannot be done as it was asked."""


class ResultsError(UsageError):
    """A results folder that cannot be read or written as it is."""


class InputError(MedcamError):
    """A file or a series that cannot be used safely; `code` is a key of `REASONS`."""


class BudgetError(InputError):
    """Input that would need more memory, time or depth than it is allowed."""


class ModelError(MedcamError):
    """A model or bundle that cannot be loaded, checked or run."""


class TrainingError(MedcamError):
    """Training that cannot start or go on; what was saved before is kept."""


class ExplainError(MedcamError):
    """A map that cannot be had honestly from this model, layer or target."""
