import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from medcam.errors import UsageError
from medcam.evaluation.table import Scored, log_probability, probability


def three_classes() -> Scored:
    return Scored.of(
        [[2.0, 1.0, 0.1], [-1.0, 0.0, 3.25], [1 / 3, 1e-17, -700.0]],
        [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
        ["anna", "ben", "anna"],
        ["healthy", "covid, mild", "pneumonia"],
        "softmax",
        exams=["e1", "e2", "e3"],
        files=["a/1.png", 'b "two".png', "c.png"],
        parts=[0, 3, 7],
        columns={"sex": ["F", "M", "F"], "note": ["two\nlines", "=1+1", ""]},
    )


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path) -> None:
    scored = three_classes()
    scored.write(tmp_path / "p.csv")
    again = Scored.read(tmp_path / "p.csv", "softmax")
    for name in ("logits", "probabilities", "targets"):
        assert np.array_equal(getattr(again, name), getattr(scored, name))
    for name in ("labels", "patients", "exams", "files", "parts", "columns"):
        assert getattr(again, name) == getattr(scored, name)


def test_probabilities_are_those_of_scipy_and_do_not_overflow() -> None:
    z = np.array([[800.0, -800.0, 3.0], [0.5, 0.25, -4.0]])
    assert np.allclose(probability(z, "sigmoid"), expit(z), rtol=1e-12)
    assert np.allclose(probability(z, "softmax"), softmax(z, axis=1), rtol=1e-12)
    assert np.allclose(log_probability(z, "softmax"), log_softmax(z, axis=1), rtol=1e-12)
    assert log_probability(z, "sigmoid")[0, 1] == -800  # where the probability itself is zero


def test_a_subset_keeps_rows_together() -> None:
    chosen = three_classes().subset([2, 0])
    assert chosen.patients == ("anna", "anna")
    assert chosen.parts == (7, 0)
    assert chosen.columns["note"] == ("", "two\nlines")
    assert chosen.targets.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert three_classes().subset(np.array([False, True, False])).files == ('b "two".png',)


@pytest.mark.parametrize(
    ("logits", "targets", "labels", "head"),
    [
        ([[0.0], [np.nan]], [[0], [1]], ["a"], "single-logit"),
        ([[0.0], [1.0]], [[0], [2]], ["a"], "single-logit"),
        ([[0.0, 1.0], [1.0, 2.0]], [[0, 1], [1, 0]], ["a", "b"], "single-logit"),
        ([[0.0], [1.0]], [[0], [1]], ["a"], "softmax"),
    ],
)
def test_what_cannot_be_true_is_refused(logits, targets, labels, head) -> None:
    with pytest.raises(ValueError, match=r"finite|\[0, 1\]|head"):
        Scored.of(logits, targets, ["x", "y"], labels, head)


def test_another_table_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "m.csv").write_text("file,label\na,1\n")
    with pytest.raises(UsageError, match="no table of predictions") as refused:
        Scored.read(tmp_path / "m.csv", "sigmoid")
    assert refused.value.code == "scored-table"
