"""DRA: disentangled representations of abnormalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import pydantic

from osadbench.nn import heads, losses, references, sampler
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import PAPER_CODE, PAPER_TEXT, SMOKE, OptimiserParams
from osadbench.registry import register_method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from osadbench.nn.fitting import Training

__all__ = ["DRA", "DRAParams", "anomaly_score", "head_targets"]

Head = Literal["seen", "pseudo", "residual", "holistic"]
HEADS: tuple[Head, ...] = ("seen", "pseudo", "residual", "holistic")


def _split_heads(value: Any) -> Any:
    return tuple(value.split("+")) if isinstance(value, str) else value


class DRAParams(OptimiserParams):
    """Parameters of DRA.

    Attributes:
        heads: The heads that are trained and scored, joined by ``+`` on the command line. The
            ablations of Table 3: ``seen`` (DRA1A), ``seen+pseudo`` (DRA2A),
            ``seen+pseudo+residual`` (DRA3Ar), ``seen+pseudo+holistic`` (DRA3An).
        n_ref: Number of reference images N_r; section 4.6 finds 1 often enough and takes 5.
        ref_test: References at test: ``"fixed"``, N_r plain training normals drawn once (section
            3.2), or ``"mixed_fixed"``, N_r of the training pool with pseudo anomalies drawn once
            (appendix B.1). The public code draws new ones for every test batch, so that its scores
            are random; that is not offered.
        pseudo: How pseudo anomalies are made (Table 4); ``"external"`` takes images of other data,
            as the paper does on medical images.
        loss: Loss of all heads (appendix C.2).
        top_k: Share of the patches that counts in an image score.
        signed: Leave out the absolute values that the public code takes.
    """

    epochs: int = pydantic.Field(default=30, ge=0)
    heads: Annotated[tuple[Head, ...], pydantic.BeforeValidator(_split_heads)] = HEADS
    n_ref: int = pydantic.Field(default=5, ge=1)
    ref_test: Literal["fixed", "mixed_fixed"] = "fixed"
    pseudo: Literal["cutmix", "cutpaste-scar", "cutpaste-mix", "external"] = "cutmix"
    loss: Literal["deviation", "bce", "focal"] = "deviation"
    top_k: float = pydantic.Field(default=0.1, gt=0, le=1)
    signed: bool = False

    @pydantic.field_validator("heads")
    @classmethod
    def _heads_in_order(cls, value: tuple[Head, ...]) -> tuple[Head, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("heads must be one or more of " + ", ".join(HEADS) + ", each once")
        # One order for one set: the heads' order must not change a result's identity.
        return tuple(head for head in HEADS if head in value)


def head_targets(head: str, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return which samples a head learns from, and their targets.

    Public code, in agreement with Eq. 2, 5, 8 and 9: the seen head leaves pseudo anomalies out, the
    pseudo head seen ones, the residual head takes all anomalies as 1, and the holistic head all
    normals as 1, so that it scores normality.

    Args:
        head: Name of the head.
        codes: ``(B,)``: NORMAL, SEEN or PSEUDO.

    Returns:
        A mask ``(B,)`` of the samples used, and targets of 0 and 1 for those.
    """
    normal, seen, pseudo = (
        codes == kind for kind in (sampler.NORMAL, sampler.SEEN, sampler.PSEUDO)
    )
    mask = {"seen": ~pseudo, "pseudo": ~seen}.get(head, normal | seen | pseudo)
    positive = {"seen": seen, "pseudo": pseudo, "holistic": normal}.get(head, seen | pseudo)
    return mask, positive[mask].long()


def anomaly_score(scores: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the abnormality heads minus the normality head (section 3.4)."""
    first, *others = (-value if head == "holistic" else value for head, value in scores.items())
    return sum(others, first)


@register_method("dra")
class DRA(NetworkMethod):
    """Four heads learn seen, pseudo, residual abnormality and normality; their scores are summed.

    What is abnormal is taken apart: like the labelled anomalies, like made-up ones, or unlike
    normal images, where the last is measured by the difference to reference images.

    Source: Ding, Pang, Shen: Catching Both Gray and Black Swans: Open-set Supervised Anomaly
    Detection, CVPR 2022, and its public code.

    Loss: sum over the heads of the deviation loss, each on its own samples (:func:`head_targets`).
    Sampler: half labelled anomalies, half normals of which every second becomes a pseudo anomaly.
    Score: the abnormality heads' scores minus the normality head's (:func:`anomaly_score`), against
    the mean map of references that are drawn once and kept.
    Paper: the heads and their targets, the score, the pseudo anomalies of Table 4; for the test,
    fixed references from the normals (section 3.2). The ``paper-text`` preset has the text's
    optimiser.
    Code: absolute patch and normality scores; the 3x3 convolution with batch norm before the
    residual head; the linear deviation loss (Eq. 11 squares it); a half of the normals made pseudo
    anomalies; in training, references drawn anew for every batch, a half of them pseudo anomalies;
    all training images rotated by any angle; in the ``paper`` preset the optimiser, whose schedule
    steps at the start of an epoch.
    Ours: that the test's references are plain images which the seed draws, where the code draws
    rotated and pseudo anomalous ones for each test batch, so that its scores are random; how CutMix
    and Scar are mixed; score maps.
    Frozen: the backbone stays as it is, augmented views come from a finite pool, the optimiser
    takes the text's values and the code's gradient norm, for 8 epochs in place of 30, for time.
    """

    Params: ClassVar[type[DRAParams]] = DRAParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "frozen": {"epochs": 8},
        "paper": {**PAPER_CODE, "lr_step_at": "start"},
        "paper-text": PAPER_TEXT,
        "smoke": SMOKE,
    }

    @property
    def p(self) -> DRAParams:
        """The parameters by their own type."""
        return cast(DRAParams, self.params)

    @property
    def pseudo_source(self) -> str | None:
        """The source of pseudo anomalies; none where only the seen head is trained (DRA1A)."""
        return None if self.p.heads == ("seen",) else self.p.pseudo

    @property
    def n_references(self) -> int:
        """References beside each batch, drawn afresh from normals and pseudo anomalies."""
        return self.p.n_ref if "residual" in self.p.heads else 0

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the chosen heads by name."""
        c = channels[0]
        patch: dict[str, Any] = {"top_k": self.p.top_k, "signed": self.p.signed}
        makers: dict[Head, Callable[[], nn.Module]] = {
            "seen": lambda: heads.PatchHead(c, **patch),
            "pseudo": lambda: heads.PatchHead(c, **patch),
            "residual": lambda: heads.ResidualHead(c, **patch),
            "holistic": lambda: heads.HolisticHead(c, signed=self.p.signed),
        }
        return heads.NamedHeads({name: makers[name]() for name in self.p.heads})

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the sum of the heads' losses, each on its own samples."""
        n = int((codes != sampler.REFERENCE).sum())
        reference = [scale[n:].mean(dim=0) for scale in maps]
        scores = self._head_scores(network, [scale[:n] for scale in maps], reference)
        values = []
        for head, head_scores in scores.items():
            mask, targets = head_targets(head, codes[:n])
            # A tiny batch may hold no sample for a head; the mean of nothing would be NaN.
            if mask.any():
                values.append(losses.LOSSES[self.p.loss](head_scores[mask], targets))
        return sum(values[1:], values[0])

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the image scores ``(B,)`` against the fixed references."""
        return anomaly_score(self._head_scores(network, maps, self.references_))

    def patch_maps(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the sum of the abnormality heads' patch scores ``(B, h, w)`` per scale.

        The authors give no localisation; this one is ours. Without a head on patches there is none.
        """
        means: Sequence[Tensor | None] = self.references_ or [None] * len(maps)
        scales = zip(maps, means, strict=True)
        patches = [self._abnormality(network, scale, reference) for scale, reference in scales]
        return None if set(self.p.heads) == {"holistic"} else patches

    @staticmethod
    def _abnormality(network: Any, scale: Tensor, reference: Tensor | None) -> Tensor:
        total = scale.new_zeros(len(scale), *scale.shape[2:])
        for name, head in network.items():
            if name == "residual":
                total = total + head.patch_map(scale, reference)
            elif name != "holistic":
                total = total + head.patch_map(scale)
        return total

    def before_training(self, network: Any, training: Training) -> None:
        """Check that there are normals enough to refer to."""
        references.check_enough(training, self.n_references, mixed=self._mixed)

    def after_training(self, network: Any, training: Training) -> None:
        """Draw the test references and keep their mean maps, ``(C, h, w)`` per scale."""
        drawn = references.fixed(training, self.n_references, self.seed, mixed=self._mixed)
        self.references_ = drawn

    @property
    def _mixed(self) -> bool:
        return self.p.ref_test == "mixed_fixed"

    @staticmethod
    def _head_scores(
        network: Any, maps: Sequence[Tensor], reference: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        return {
            name: heads.mean_over_scales(head, maps, reference)
            if name == "residual"
            else heads.mean_over_scales(head, maps)
            for name, head in network.items()
        }
