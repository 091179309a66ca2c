"""Codes are stable, known, used, and survive the way between processes."""

import ast
import pickle
from pathlib import Path

import pytest

from medcam.errors import (
    REASONS,
    BudgetError,
    InputError,
    MedcamError,
    ModelError,
    ResultsError,
    TrainingError,
    UsageError,
)

PACKAGE = Path(__file__).parents[1] / "medcam"
FREE = ("UsageError", "ResultsError", "ModelError", "TrainingError", "ExplainError")
"""Errors whose codes are not the fate of a file or series."""


def literals():
    """(where, class, code) of every error or reason that is made with a literal code."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("Reason", "InputError", "BudgetError", *FREE):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", name, node.args[0].value


def test_every_fate_has_a_code_that_is_explained():
    unknown = [(where, code) for where, name, code in literals() if name not in FREE and code not in REASONS]
    assert unknown == []


def test_every_explained_code_is_used_somewhere():
    words = {
        node.value
        for path in PACKAGE.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(set(REASONS) - words) == []


def test_codes_and_explanations_can_be_read():
    for code, meaning in REASONS.items():
        assert code == code.lower().replace(" ", "-")
        assert meaning[0].isupper()
        assert meaning.endswith(".")
    for where, _, code in literals():
        assert isinstance(code, str), where
        assert code == code.lower().replace(" ", "-").replace("_", "-"), where


@pytest.mark.parametrize("kind", [UsageError, ResultsError, InputError, BudgetError, ModelError, TrainingError])
def test_an_error_says_its_sentence_and_code_and_can_be_sent_to_another_process(kind):
    error = kind("too-large", "It needs more memory than allowed.")
    assert str(error) == "It needs more memory than allowed. [too-large]"
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.code, str(back)) == (kind, error.code, str(error))
    assert isinstance(error, MedcamError)


def test_the_tree():
    assert issubclass(ResultsError, UsageError)
    assert issubclass(BudgetError, InputError)
    assert not issubclass(InputError, UsageError)
