"""The hard setting: labelled anomalies of one class, tested on the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from osadbench.errors import DataError, UsageError, did_you_mean
from osadbench.protocol import Protocol
from osadbench.protocols._draw import check_manifest, check_request, draw_order, make_splits
from osadbench.registry import register_protocol
from osadbench.types import Manifest, Split

__all__ = ["Hard"]


@register_protocol("hard")
class Hard(Protocol):
    """Labelled anomalies drawn from one known class; all of that class leaves the test set.

    After DRA (Ding, Pang and Shen, CVPR 2022, section 4.2 and appendix A.2): one split for each
    known class, so that a method is tested on classes it has not seen. The one-shot anomaly is the
    first of the ten-shot ones. A class with fewer images than shots gives all it has. Where the
    public code takes a misspelt class for a request for the general setting, we refuse it.
    """

    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Yield splits by known class, shots and seed; see :meth:`Protocol.splits`."""
        seeds, shots = check_request(seeds, shots)
        check_manifest(manifest)
        if len(manifest.anomaly_classes) < 2:
            raise DataError(
                f"{manifest.name} has {len(manifest.anomaly_classes)} anomaly class, but hard "
                "needs 2 or more, one to train and one to test on: use the protocol general"
            )
        for known_class in _known_classes(manifest, known_classes):
            anomalies = manifest.select(split="test", label=1, class_name=known_class)
            drawn = {
                seed: draw_order(self.name, manifest, known_class, seed, anomalies)
                for seed in seeds
            }
            yield from make_splits(self.name, manifest, known_class, shots=shots, drawn=drawn)


def _known_classes(manifest: Manifest, asked: Sequence[str] | None) -> list[str]:
    """Return the known classes that are asked for, in the manifest's order, each once."""
    known = [name for name in manifest.known_classes if name in manifest.anomaly_classes]
    if not known:
        raise DataError(
            f"{manifest.name} has no class that may be the known class: use the protocol general"
        )
    if not asked:
        return known
    by_plain_name = {_plain(alias): name for alias, name in manifest.aliases if name in known}
    by_plain_name |= {_plain(name): name for name in known}
    wanted = set()
    for name in asked:
        if name not in known and _plain(name) not in by_plain_name:
            raise UsageError(
                f"{manifest.name} has no known class {name!r}: {did_you_mean(name, known)}"
            )
        wanted.add(name if name in known else by_plain_name[_plain(name)])
    return [name for name in known if name in wanted]


def _plain(name: str) -> str:
    """Return a class's name without case, and with one sign for what stands between words."""
    return name.lower().replace("-", "_").replace(" ", "_")
