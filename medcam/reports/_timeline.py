"""The scores of a series' parts, in order, against the threshold: the frames of a cine."""

from medcam.findings import Case
from medcam.reports._drawing import Drawing, Line, Mark, Text
from medcam.reports._pictures import DISPLAY

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960.0, 150.0, 50.0, 20.0, 14.0, 26.0
CURVE, LEVEL = "#14548f", "#b42318"


def timeline(case: Case) -> Drawing | None:
    """A curve over the frames of a cine; None where there are no scores of frames."""
    scores = case.prediction.part_scores
    if case.kind != "cine" or len(scores) < 2:
        return None
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    ink, faint = DISPLAY.ink, DISPLAY.faint

    def x(part: int) -> float:
        return LEFT + across * part / (len(scores) - 1)

    def y(score: float) -> float:
        return TOP + down * (1 - score)

    marks: list[Mark] = [Line(((LEFT, y(1)), (LEFT, y(0)), (LEFT + across, y(0))), faint, 1)]
    for value in (0.0, 0.5, 1.0):
        marks.append(Text(LEFT - 8, y(value) + 4, 12, f"{value:g}", faint, "end"))
        marks.append(Line(((LEFT - 4, y(value)), (LEFT, y(value))), faint, 1))
    level = y(case.prediction.threshold)
    marks.append(Line(((LEFT, level), (LEFT + across, level)), LEVEL, 1))
    marks.append(Text(LEFT + across, level - 4, 12, "threshold", LEVEL, "end"))
    marks.append(Line(tuple((x(part), y(score)) for part, score in enumerate(scores)), CURVE, 1.6))
    marks.append(Text(LEFT, HEIGHT - 8, 12, part_words(case, 0), ink))
    marks.append(Text(LEFT + across, HEIGHT - 8, 12, part_words(case, len(scores) - 1), ink, "end"))
    return Drawing(WIDTH, HEIGHT, DISPLAY.paper, tuple(marks), caption(case))


def caption(case: Case) -> str:
    """What the curve shows."""
    return f"{case.prediction.score_name[:1].upper()}{case.prediction.score_name[1:]} of each frame before pooling."


def part_words(case: Case, part: int) -> str:
    """Which frame of the source a part is; frames count from 1."""
    times, seen = case.frame_times_s, case.explanation.input_grid
    frame = part
    if len(case.prediction.part_scores) != case.grid.shape[0]:
        if len(case.prediction.part_scores) != seen.shape[0]:
            return f"scored frame {part + 1}"
        frame = round(float(case.grid.index(seen.position((part, 0, 0)))[0]))  # the model saw some of the frames
    return f"frame {frame + 1}" + (f", {times[frame]:.2f} s" if times else "")
