"""osadbench: a benchmark of open-set supervised anomaly detection in images."""

from osadbench._version import __version__

__all__ = ["__version__"]
