"""One classifier of normal, seen and pseudo anomalous images, and outlier exposure for it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from osadbench.nn.heads import top_k_mean
from osadbench.nn.sampler import NORMAL, PSEUDO, SEEN

__all__ = ["ThreeClassHead", "class_loss", "log_odds", "outlier_exposure"]

N_CLASSES = 3
ABNORMAL = [SEEN, PSEUDO]


class ThreeClassHead(nn.Module):
    """A 1x1 convolution to a map per class, each pooled by the mean of its largest patches.

    The classes' indices are the codes NORMAL, SEEN and PSEUDO. DRA calls this plain feature
    learning with all classes in one head (section 4.1 and Fig. 3) and gives no shape: pooling every
    class by its top K, without absolute values because these are logits, is our choice.

    Args:
        channels: C of the feature maps.
        top_k: Share of the patches that counts, in every class.
    """

    def __init__(self, channels: int, *, top_k: float = 0.1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, N_CLASSES, kernel_size=1)
        self.top_k = top_k

    def patch_logits(self, maps: Tensor) -> Tensor:
        """Return one logit per class and patch, ``(B, 3, h, w)``, of maps ``(B, C, h, w)``."""
        # The same sums as the convolution's own call, and faster on a CPU.
        weight = self.convolution.weight.flatten(1)
        logits = functional.linear(maps.permute(0, 2, 3, 1), weight, self.convolution.bias)
        return logits.permute(0, 3, 1, 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits ``(B, 3)`` of maps ``(B, C, h, w)``."""
        patches = self.patch_logits(maps).flatten(2)
        return top_k_mean(patches.flatten(0, 1), self.top_k, signed=True).view(-1, N_CLASSES)


def class_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits ``(B, 3)`` against codes ``(B,)``, unweighted."""
    return functional.cross_entropy(logits, codes)


def outlier_exposure(logits: Tensor) -> Tensor:
    """Return the mean cross-entropy from the uniform distribution to the softmax of the logits.

    ``logsumexp(z) - mean(z)`` per image, as in the public code of Hendrycks, Mazeika, Dietterich:
    Deep Anomaly Detection with Outlier Exposure, ICLR 2019. It is smallest, log 3, where the three
    classes are equally likely.

    Args:
        logits: Float ``(B, 3)`` of images from elsewhere, B at least 1.
    """
    return (logits.logsumexp(dim=1) - logits.mean(dim=1)).mean()


def log_odds(logits: Tensor) -> Tensor:
    """Return the log-odds of being seen or pseudo anomalous rather than normal.

    ``logsumexp(z_seen, z_pseudo) - z_normal``: it ranks as one minus the probability of normal
    does, and does not saturate into ties. Equal logits give log 2. No paper names a score; this
    one is our choice.

    Args:
        logits: Float ``(B, 3)``, or ``(B, 3, h, w)`` of patches.

    Returns:
        ``(B,)``, or ``(B, h, w)``; any real number, larger = more anomalous.
    """
    return logits[:, ABNORMAL].logsumexp(dim=1) - logits[:, NORMAL]
