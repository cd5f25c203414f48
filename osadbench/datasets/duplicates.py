"""Images of the same content in places where that makes a result worthless, or just odd."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from osadbench.datasets.findings import Findings
from osadbench.types import ImageRecord

__all__ = ["resolve_duplicates"]


def resolve_duplicates(
    records: Iterable[ImageRecord], on_duplicate: str, findings: Findings
) -> list[ImageRecord]:
    """Look for files of the same bytes and treat them as asked.

    The same content in ``train/good`` and in a test folder, or as normal and as anomaly, is
    contradictory. Other copies, inside one split and label, are only counted in a warning.

    Args:
        records: The images.
        on_duplicate: What to do about contradictory copies: ``"error"`` makes each pair a problem,
            ``"warn"`` keeps all. ``"drop"`` keeps one image of each content, a training image
            rather than a test image; a content that is both normal and anomalous goes entirely.
        findings: Takes problems and warnings.

    Returns:
        The records to keep, in their order.
    """
    records = list(records)
    copies: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        copies[record.sha256].append(record)
    groups = [group for group in copies.values() if len(group) > 1]
    _report_harmless([group for group in groups if not _is_contradictory(group)], findings)
    if on_duplicate == "drop":
        return _drop(records, groups, findings)
    for group in filter(_is_contradictory, groups):
        text = f"{_some(group)} have the same content"
        if on_duplicate == "error":
            findings.problem(f"{text}: {_rule(group)}; take one away or set on_duplicate=drop")
        else:
            findings.warning(f"{text}: {_rule(group)}")
    return records


def _some(group: list[ImageRecord], shown: int = 3) -> str:
    paths = [record.path for record in group]
    if len(paths) <= shown:
        return " and ".join(paths)
    return f"{', '.join(paths[:shown])} and {len(paths) - shown} others"


def _is_contradictory(group: list[ImageRecord]) -> bool:
    return len({(record.split, record.label) for record in group}) > 1


def _rule(group: list[ImageRecord]) -> str:
    if len({record.label for record in group}) > 1:
        return "an image must not be both normal and anomalous"
    return "an image must not stand in both train and test"


def _report_harmless(groups: list[list[ImageRecord]], findings: Findings) -> None:
    surplus: Counter[str] = Counter()
    for group in groups:
        surplus[group[0].split] += len(group) - 1
    for split, count in sorted(surplus.items()):
        findings.warning(f"{count} duplicate images inside {split}")


def _drop(
    records: list[ImageRecord], groups: list[list[ImageRecord]], findings: Findings
) -> list[ImageRecord]:
    dropped: set[str] = set()
    for group in groups:
        one_label = len({record.label for record in group}) == 1
        kept = min(group, key=lambda record: (record.split != "train", record.path))
        dropped.update(record.path for record in group if not one_label or record is not kept)
    if dropped:
        findings.warning(f"{len(dropped)} duplicate images are left out")
    return [record for record in records if record.path not in dropped]
