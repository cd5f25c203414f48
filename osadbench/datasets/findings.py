"""What a loader finds wrong, gathered so that one error can list all of it."""

from __future__ import annotations

from osadbench.errors import DataError

__all__ = ["Findings"]

#: Problems that one error lists; the rest are counted.
SHOWN = 20


class Findings:
    """Problems, which stop a dataset from being used, and warnings, which do not.

    Attributes:
        problems: One line each.
        warnings: One line each.
        exclusions: Images that are left out by a rule, with the reason.
        omissions: The same of images that never belong to the dataset as it is defined here. They
            say nothing of the files at hand, so that nobody is warned of them.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.exclusions: list[tuple[str, str]] = []
        self.omissions: list[tuple[str, str]] = []

    def problem(self, text: str) -> None:
        """Add a problem: the path, the rule it breaks, and the remedy, in one line."""
        self.problems.append(text)

    def warning(self, text: str) -> None:
        """Add a warning, in one line."""
        self.warnings.append(text)

    def exclude(self, path: str, reason: str) -> None:
        """Note an image that is left out.

        Args:
            path: The image, or the file that it would have come from.
            reason: A clause such as ``"it has no mask"``.
        """
        self.exclusions.append((path, reason))

    def omit(self, path: str, reason: str) -> None:
        """Note an image that the dataset leaves out by its definition; see :meth:`exclude`."""
        self.omissions.append((path, reason))

    def warn_of_exclusions(self) -> None:
        """Add one warning for each reason for which images are left out."""
        by_reason: dict[str, list[str]] = {}
        for path, reason in self.exclusions:
            by_reason.setdefault(reason, []).append(path)
        for reason, paths in by_reason.items():
            are = "image is" if len(paths) == 1 else "images are"
            self.warning(f"{len(paths)} {are} left out, such as {paths[0]}: {reason}")

    def raise_problems(self, where: object) -> None:
        """Raise all problems as one error; do nothing where there are none.

        Args:
            where: The folder that the problems' paths are relative to.

        Raises:
            DataError: There is a problem. Up to 20 are listed, one per line.
        """
        if not self.problems:
            return
        if len(self.problems) == 1:
            raise DataError(f"{where}: {self.problems[0]}")
        lines = [f"{len(self.problems)} problems in {where}:", *self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN} more")
        raise DataError("\n  ".join(lines))
