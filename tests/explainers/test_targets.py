"""Which scalar is explained, for each kind of head, by hand."""

import pytest
import torch

from medcam.errors import ExplainError
from medcam.explainers._targets import resolve


def test_single_logit_explains_either_class() -> None:
    output = torch.tensor([[2.0], [-1.0]])
    assert resolve(output, 2, "predicted").scalars.tolist() == [[2.0], [1.0]]
    assert resolve(output, 2, "predicted").classes == ((1,), (0,))
    assert resolve(output, 2, "all").scalars.tolist() == [[-2.0, 2.0], [1.0, -1.0]]
    assert resolve(output, 2, 1).scalars.tolist() == [[2.0], [-1.0]]
    assert resolve(output[:, 0], 2, 1).head == "single-logit"


def test_regression_explains_the_number_itself() -> None:
    resolved = resolve(torch.tensor([[2.0], [-1.0]]), 2, "predicted", "regression")
    assert resolved.scalars.tolist() == [[2.0], [-1.0]]
    assert resolved.name(0, 0) == "output 0"


def test_classes_by_number_by_sample_and_by_table() -> None:
    output = torch.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]])
    assert resolve(output, 2, "predicted").scalars.tolist() == [[5.0], [6.0]]
    assert resolve(output, 2, 0).scalars.tolist() == [[1.0], [4.0]]
    assert resolve(output, 2, [2, 0]).scalars.tolist() == [[3.0], [4.0]]
    assert resolve(output, 2, torch.tensor([[2, 1], [0, 1]])).scalars.tolist() == [[3.0, 5.0], [4.0, 2.0]]
    assert resolve(output, 2, "all").name(1, 2) == "class 2"


def test_a_callable_sees_the_raw_output() -> None:
    output = {"logits": torch.tensor([[1.0, 4.0]]), "box": torch.tensor([[7.0]])}
    contrast = resolve(output, 1, lambda raw: raw["logits"][:, 1] - raw["logits"][:, 0])
    assert contrast.scalars.tolist() == [[3.0]]
    assert contrast.name(0, 0) == "own target"
    assert contrast.again is contrast.own


def test_the_same_again() -> None:
    output = torch.tensor([[1.0, 5.0], [4.0, 2.0]])
    first = resolve(output, 2, "predicted")
    assert resolve(-output, 2, first.again).classes == first.classes == ((1,), (0,))


def test_dense_sums_a_logit_over_where_it_wins() -> None:
    background, organ, lesion = [[3.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 5.0]], [[0.0, 1.0], [4.0, 1.0]]
    output = torch.tensor([[background, organ, lesion]])
    assert resolve(output, 1, "predicted").classes == ((1,),)  # two cells; the background does not count
    assert resolve(output, 1, "all").scalars.tolist() == [[3.0, 7.0, 4.0]]


def test_dense_class_that_wins_nowhere_is_summed_everywhere_and_said() -> None:
    output = torch.stack([torch.ones(2, 2), torch.zeros(2, 2) + 0.25])[None]
    resolved = resolve(output, 1, 1)
    assert resolved.scalars.tolist() == [[1.0]]
    assert any("nothing is predicted" in note for note in resolved.notes)


def test_dense_single_channel_has_two_classes() -> None:
    output = torch.tensor([[[[2.0, -1.0], [3.0, -4.0]]]])
    assert resolve(output, 1, "all").scalars.tolist() == [[5.0, 5.0]]  # -(-1 - 4) and 2 + 3


@pytest.mark.parametrize("output", [(None, {"x": torch.ones(2, 3)}), [torch.ones(2, 3)], {"out": torch.ones(2, 3)}])
def test_nested_outputs(output: object) -> None:
    assert resolve(output, 2, 1).scalars.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("output", ["text", torch.ones(3, 2), torch.tensor(1.0), {"out": None}])
def test_outputs_that_are_not_scores(output: object) -> None:
    with pytest.raises(ExplainError) as error:
        resolve(output, 2, 1)
    assert error.value.code == "bad-output"


def test_probabilities_are_noticed() -> None:
    logits = torch.randn(4, 3) * 3
    assert any("probabilities" in note for note in resolve(logits.softmax(1), 4, 0).notes)
    assert not resolve(logits, 4, 0).notes
