"""Broken on purpose: what an entry point looks like whose library is missing."""

import a_library_that_nobody_has  # noqa: F401
