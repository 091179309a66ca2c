"""What a bundle says about a series and how sure it is. Screening and evaluation both ask here and say the same."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medcam.errors import ModelError
from medcam.explainers import Explained, explain, explain_bag
from medcam.findings import Prediction, Uncertainty
from medcam.grid import Grid
from medcam.models import Bundle
from medcam.models._attention import AT_ONCE, FEATURES, Attending, Looked, folded
from medcam.models._completed import Completed
from medcam.reliability.apply import Reliability, uncertainty
from medcam.reliability.support import features
from medcam.uncertainty import SHELF, Spread
from medcam.uncertainty.ensemble import Ensemble

TILES_DISTURBED = 16
"""Of a slide, this many tiles with the highest scores are disturbed; their pooled score stands for the slide's."""


class Judge:
    """A bundle with what was learned about it, asked label by label.

    A series has one part, or several: the tiles of a slide, whose logits are pooled as the bundle's card says. For a
    network that attends to frames or tiles itself, they are a bag, which is one part.

    Args:
        bundle: loaded.
        disturbance: a member of the uncertainty shelf, or "none".
        explainer: whose evidence is looked at while the image is disturbed.
        layer: that is explained; "auto" is the card's.
        batch_size: most tiles in one forward pass.

    Raises:
        ModelError: "bundle-reliability", what was learned is damaged or for other labels.
        UsageError: there is no such disturbance, or it lacks its networks.
    """

    def __init__(
        self,
        bundle: Bundle,
        disturbance: str = "none",
        explainer: str = "gradcam",
        layer: str = "auto",
        batch_size: int = 8,
    ) -> None:
        self.bundle, self.reliability = bundle, Reliability.of(bundle)
        self._disturbance = None if disturbance == "none" else SHELF.load(disturbance).of(bundle)
        self._explainer, self._layer = explainer, layer if layer != "auto" else bundle.card.layer
        self._batch_size = batch_size
        self.attending = Attending.of(bundle.model)
        """Its halves, where the network attends to the frames or tiles of a series itself."""

    def explain(self, x: Tensor, label: int, grids: Sequence[Grid] | None = None) -> Explained:
        """Evidence for the log odds of a label in images (B, C, *space); by default each lies on its own pixels."""
        odds = partial(self.bundle.odds, label=label)
        return explain(self.bundle.model, x, self._explainer, odds, self._layer, grids=grids)

    def tiles(self, x: Tensor, label: int, grids: Sequence[Grid] | None = None) -> list[Explained]:
        """The same of many tiles, in turns."""
        starts, size = range(0, len(x), self._batch_size), self._batch_size
        device = self.bundle.device
        return [
            self.explain(x[i : i + size].to(device), label, None if grids is None else grids[i : i + size])
            for i in starts
        ]

    def spreads(self, explained: Explained, seed: int = 0) -> list[Spread]:
        """How far each image's outputs and evidence move; none where nothing is disturbed."""
        return [] if self._disturbance is None else self._disturbance.spread(self.bundle.model, explained, seed=seed)

    def spreads_of_tiles(
        self, x: Tensor, output: Tensor, label: int, grids: Sequence[Grid] | None = None
    ) -> list[Spread]:
        """The same of those tiles (N, C, *space) of a slide that score highest, by their outputs (N, K)."""
        if self._disturbance is None:
            return []
        odds = self.bundle.odds(output, label)
        rows = odds.argsort(descending=True, stable=True)[:TILES_DISTURBED].tolist()
        places = None if grids is None else [grids[row] for row in rows]
        return [spread for part in self.tiles(x[rows], label, places) for spread in self.spreads(part)]

    def look(self, x: Tensor) -> list[Looked]:
        """What a network that attends sees in bags (B, C, N, H, W); nothing of another network."""
        if self.attending is None:
            return []
        with torch.no_grad():
            return self.attending.look(folded(x), [x.shape[2]] * len(x), AT_ONCE).each

    def bag(self, x: Tensor, label: int, grids: Sequence[Grid] | None = None) -> tuple[list[Explained], Looked]:
        """Evidence of many images (N, C, H, W) of one bag, in turns, each for its own part in the bag's log odds."""
        assert self.attending is not None
        odds = partial(self.bundle.odds, label=label)
        return explain_bag(self.attending, x, self._explainer, odds, self._layer, grids, self._batch_size)

    def spreads_of_bag(self, x: Tensor, looked: Looked, label: int, seed: int = 0) -> list[Spread]:
        """How far a bag (N, C, H, W) moves when those of its images are disturbed alike that are attended to most.

        The other images stay as they are. Of an ensemble, whose networks see them otherwise, they are left out.
        """
        if self._disturbance is None:
            return []
        assert self.attending is not None
        rows = looked.weights.argsort(descending=True, stable=True)[:TILES_DISTURBED]
        bag = x[rows.to(x.device)].transpose(0, 1)[None].to(looked.weights.device)  # (1, C, n, H, W)
        alone = isinstance(self._disturbance, Ensemble)
        network = self.bundle.model if alone else Completed(self.attending, looked, rows).eval()
        odds = partial(self.bundle.odds, label=label)
        explained = explain(network, bag, self._explainer, odds, self._layer)
        return self._disturbance.spread(network, explained, seed=seed)

    def features(self, parts: Sequence[Explained], looked: Sequence[Looked] = ()) -> npt.NDArray[np.float32] | None:
        """(N, D) as the bundle's support knows them; None where it has none.

        Args:
            looked: what a network that attends saw in each bag, if that is known already.
        """
        support = self.reliability.support
        if support is None:
            return None
        if support.layer == FEATURES and self.attending is not None:
            bags = looked or [bag for part in parts for bag in self.look(part.images)]
            return torch.cat([bag.embedded for bag in bags]).float().cpu().numpy()
        if all(part.features is not None and part.layer == support.layer for part in parts):
            return torch.cat([part.features for part in parts if part.features is not None]).float().cpu().numpy()
        return features(self.bundle.model, (part.images for part in parts), support.layer)[1]

    def prediction(
        self,
        output: Tensor,
        label: int,
        features: npt.NDArray[np.float32] | None = None,
        patient: str | None = None,
        looked: Looked | None = None,
    ) -> Prediction:
        """Score, threshold, conformal set and support of one series.

        Args:
            output: (N, K) of its parts.
            label: which is asked about.
            features: (N, D) of its parts; the support is that of the part with the highest score.
            patient: whom it shows, if that is known; never supported by images of the same patient.
            looked: what the network saw in its frames or tiles, where it attends to them itself.
        """
        found = self.bundle.prediction(output, label)
        logits = output.detach().double().cpu()
        parts = logits if looked is None else looked.logits.detach().double().cpu()
        if looked is not None and len(parts) > 1:
            scores, weights = self.bundle.odds(parts, label).sigmoid(), looked.weights.double()
            found = replace(
                found, part_scores=tuple(scores.tolist()), part_weights=tuple(weights.tolist()), pooling="attention"
            )
        highest = int(self.bundle.odds(logits, label).argmax())
        return self.reliability.judged(
            found,
            self.bundle.pooled(logits).numpy(),
            label,
            parts=parts.numpy(),
            feature=None if features is None else features[highest],
            patient=patient,
        )

    def doubt(self, spreads: Sequence[Spread], label: int) -> Uncertainty:
        """How far the score of one series moves when all its parts are disturbed alike."""
        if self._disturbance is None:
            return Uncertainty("none", {}, None)
        outputs = torch.from_numpy(np.stack([self._outputs(spread) for spread in spreads], axis=1))  # (members, N, K)
        pooled = np.stack([self.bundle.pooled(parts).numpy() for parts in outputs])
        scores = dict(zip(spreads[0].logits, self.reliability.probability(pooled)[:, label].tolist(), strict=True))
        cells = spreads[0].cells if len(spreads) == 1 else None
        return uncertainty(self._disturbance.name, scores, networks=self._disturbance.networks, cells=cells)

    def _outputs(self, spread: Spread) -> npt.NDArray[np.float64]:
        """(members, K)."""
        if spread.outputs is not None:
            return spread.outputs
        if self.bundle.card.head == "single-logit":
            return np.array(list(spread.logits.values()))[:, None]
        name = spread.uncertainty.method
        raise ModelError("no-outputs", f"{name} gives no outputs that can be made into scores; choose another.")
