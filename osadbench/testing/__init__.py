"""The conformance suites: what every method and every protocol must keep, tested by running it.

``check_method(Mine)`` and ``check_protocol(Mine)`` give a report for people; with pytest, subclass
:class:`MethodConformance` or :class:`ProtocolConformance` and set one attribute.
"""

from osadbench.testing.method_suite import METHOD_CHECKS, check_method
from osadbench.testing.protocol_suite import PROTOCOL_CHECKS, check_protocol
from osadbench.testing.pytest_classes import MethodConformance, ProtocolConformance
from osadbench.testing.results import CheckResult, format_results
from osadbench.testing.toys import toy_images, toy_manifest, toy_outliers

__all__ = [
    "METHOD_CHECKS",
    "PROTOCOL_CHECKS",
    "CheckResult",
    "MethodConformance",
    "ProtocolConformance",
    "check_method",
    "check_protocol",
    "format_results",
    "toy_images",
    "toy_manifest",
    "toy_outliers",
]
