"""One training on planted spots, for every test that asks what came out of it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from medcam.training.train import Outcome, Trained, train
from tests.training.planted import OPTIONS, X_RAYS, write_pictures


@dataclass(frozen=True)
class Ran:
    """A training and what it left."""

    data: Path
    out: Path
    outcome: Outcome

    @property
    def trained(self) -> Trained:
        (trained,) = self.outcome.trained
        return trained

    @property
    def run(self) -> Path:
        return self.out.with_name("bundle.run")


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Only to be read."""
    folder = tmp_path_factory.mktemp("training")
    data = write_pictures(folder / "pictures")
    return Ran(data, folder / "bundle", train(X_RAYS, data, folder / "bundle", OPTIONS))
