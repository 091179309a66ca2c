"""Iterative stratification (Sechidis, Tsoumakas & Vlahavas, ECML PKDD 2011): any shares, any number of labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def stratify(labels: npt.NDArray[np.bool_], shares: Sequence[float], images: npt.ArrayLike, seed: int) -> list[int]:
    """A side for each patient, so that every side gets its share of every label.

    The label with fewest patients left goes first; each of its patients joins the side that still wants most of this
    label, of equal ones the side that wants most images, then most patients, then a random one. Unlike the paper's, a
    side wants at least one patient of each label that has as many patients as there are sides,
    and no side stays empty.

    Args:
        labels: (P, L), a patient may have several labels or none.
        shares: of the patients, one per side; they sum to 1.
        images: (P,) how many each patient has.
        seed: the same seed gives the same sides.

    Returns:
        list[int]: (P,) numbers of sides.
    """
    rng = np.random.default_rng(seed)
    share = np.asarray(shares, np.float64)
    table = np.column_stack([labels, ~labels.any(axis=1)]).astype(bool)  # to have no label is a label too
    size = np.asarray(images, np.float64)
    wanted = np.stack([_wanted(int(column.sum()), share) for column in table.T], axis=1)  # (S, L + 1) patients
    places, room = share * len(table), share * size.sum()  # patients and images that each side still wants
    side = np.full(len(table), -1)
    order = rng.permutation(len(table))
    order = order[np.argsort(-size[order], kind="stable")]  # large patients first: small ones then even out the images
    while (side < 0).any():
        left = table[side < 0].sum(axis=0)
        label = int(np.where(left > 0, left, len(table) + 1).argmin())
        for patient in order:
            if side[patient] >= 0 or not table[patient, label]:
                continue
            chosen = _most(wanted[:, label], room, places, rng)
            side[patient] = chosen
            wanted[chosen, table[patient]] -= 1
            places[chosen] -= 1
            room[chosen] -= size[patient]
    for empty in range(len(share)):
        if not (side == empty).any():
            side[_spare(side, table)] = empty
    return [int(number) for number in side]


def _spare(side: npt.NDArray[np.intp], table: npt.NDArray[np.bool_]) -> int:
    """The patient that the largest side misses least: whose rarest label has most patients there."""
    there = np.flatnonzero(side == np.bincount(side).argmax())
    counts = np.where(table[there], table[there].sum(axis=0), len(table))  # (patients there, L + 1)
    return int(there[counts.min(axis=1).argmax()])


def _wanted(patients: int, share: Floats) -> Floats:
    """How many of a label's patients each side wants: its share, but at least one where there are enough."""
    wanted = share * patients
    if patients < len(share):
        return wanted
    raised = np.zeros(len(share), bool)
    while (wanted[~raised] < 1 - 1e-9).any():
        raised |= wanted < 1
        wanted[raised] = 1
        wanted[~raised] = share[~raised] / share[~raised].sum() * (patients - raised.sum())
    return wanted


def _most(wanted: Floats, room: Floats, places: Floats, rng: np.random.Generator) -> int:
    best = np.arange(len(wanted))
    for demand in (wanted, room, places):
        best = best[demand[best] >= demand[best].max() - 1e-9]
    return int(rng.choice(best))
