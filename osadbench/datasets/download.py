"""Downloads that go on where they stopped; their bytes are checked by the caller."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from osadbench.errors import DataError

__all__ = ["Progress", "download"]

#: Bytes read at once, and seconds to wait for a server that says nothing.
CHUNK, PATIENCE = 1 << 20, 60

#: Takes the bytes that are there and the bytes of the whole, None where the server doesn't say.
Progress = Callable[[int, int | None], object]


def download(url: str, path: Path, progress: Progress = lambda done, total: None) -> None:
    """Download a file, or the rest of it where a part is there already.

    What has come stays there when the connection breaks or the process is killed.

    Args:
        url: An address of ``http`` or ``https``.
        path: The file.
        progress: Called after each piece.

    Raises:
        DataError: The address cannot be read, or the file not written.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"cannot download {url}: expected an http or https address")
    try:
        _continue(url, path, progress)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot download {url} ({reason}): try again, which goes on where it stopped, or get "
            "the file by hand"
        ) from error


def _continue(url: str, path: Path, progress: Progress) -> None:
    there = path.stat().st_size if path.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "osadbench"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and there:
            # There is nothing behind what is here: it is whole, which the hash will tell.
            return
        raise
    with answer:
        # A server that doesn't know ranges sends the whole file.
        goes_on = there and answer.status == http.HTTPStatus.PARTIAL_CONTENT
        done = there if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with path.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)
