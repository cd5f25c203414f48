"""Writing the files of figures and diagrams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osadbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure_file", "writing"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of a file that is about to be written.

    Raises:
        UsageError: The file or its folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror or error}): name another file"
        ) from None


def save_figure_file(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure as its file's name ends; the same figure gives the same bytes.

    Args:
        figure: What to write.
        path: A file that ends in ``.pdf`` or ``.png``.
        options: Others of matplotlib's ``savefig``.

    Raises:
        UsageError: The file cannot be written.
    """
    import matplotlib

    dateless = {"CreationDate": None} if path.suffix.lower() == ".pdf" else {}
    # Type 42: text that can be searched and edited.
    with writing(path), matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(path, metadata=dateless, **options)
