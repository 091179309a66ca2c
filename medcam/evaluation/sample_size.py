"""What a number of patients can and cannot show, whatever the model."""

import math


def misses_allowed(cases: int, claim: float, confidence: float = 0.95) -> int | None:
    """The most misses among `cases` that still show, one-sided, a share of hits of at least `claim`; None if none do.

    Exact (Clopper & Pearson, 1934): so many misses or fewer must be unlikely if the share were just `claim`.
    """
    chance, misses = 0.0, -1
    for k in range(cases + 1):
        ways = math.lgamma(cases + 1) - math.lgamma(k + 1) - math.lgamma(cases - k + 1)
        chance += math.exp(ways + k * math.log1p(-claim) + (cases - k) * math.log(claim))
        if chance > 1 - confidence:
            break
        misses = k
    return misses if misses >= 0 else None


def needed(claim: float, confidence: float = 0.95) -> int:
    """The fewest cases, all of them hits, that show a share of hits of at least `claim`."""
    return math.ceil(math.log(1 - confidence) / math.log(claim))


def best_claim(cases: int, confidence: float = 0.95) -> float:
    """The highest share of hits that `cases` can show if every one is a hit."""
    return float((1 - confidence) ** (1 / cases)) if cases else 0.0


def statement(what: str, whom: str, cases: int, claim: float = 0.95) -> str:
    """What so many patients can show about a share of hits, in words.

    Args:
        what: the share, e.g. "sensitivity".
        whom: among whom it is counted, e.g. "with opacity".
        cases: how many patients.
        claim: the share that one would like to show.
    """
    percent = f"{100 * claim:g} %"
    if cases == 0:
        return f"No patient {whom}: nothing can be said about {what}."
    people = f"{cases} patient{'s' if cases != 1 else ''} {whom}"
    allowed = misses_allowed(cases, claim)
    if allowed is None:
        most = f"{100 * best_claim(cases):.0f} %"
        return (
            f"{people} can never show a {what} of {percent}: without a single miss they show {most} at best, "
            f"and {needed(claim)} patients would be the fewest (one-sided 95 % confidence)."
        )
    misses = "no miss" if allowed == 0 else f"at most {allowed} miss{'es' if allowed > 1 else ''}"
    return f"{people} show a {what} of {percent} or more only with {misses} (one-sided 95 % confidence)."
