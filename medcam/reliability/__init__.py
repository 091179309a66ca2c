"""What a score is worth, learned on calibration patients and kept in the bundle: numpy, but for judging.

calibration.py        logits to probabilities (Platt, temperature), and back to another prevalence
isotonic.py           calibration by rising steps, where there are patients enough
choice.py             which of the two calibrations, by folds of the calibration patients
calibration_error.py  how far probabilities are from frequencies: ECE, Brier, NLL, bins of a reliability plot
conformal.py          sets of answers that hold the true one for a stated share of patients
thresholds.py         where to cut: Youden, a fixed sensitivity, costs, each with its interval
selective.py          what is gained by referring the least certain cases: risk over coverage
entropy.py            aleatoric and epistemic parts of the spread over networks
sdm.py                similarity, distance and magnitude of one answer
support.py            nearest training cases, and what is unlike all of them
maps.py               whether heat maps of several networks or passes agree
evidential.py         evidence and vacuity of a network that was trained for them
apply.py              all of it, read from a bundle and applied to one prediction
judging.py            a bundle's network with all of it: the one way to a score, its doubt and a decision (needs torch)
"""
