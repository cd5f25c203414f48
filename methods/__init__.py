"""The methods that ship with osadbench: one file each, found because it is there."""

if not __name__.startswith("osadbench."):
    raise ImportError(
        f"import 'osadbench.methods', not '{__name__}': from the root of the checkout the bare "
        "name would load every module a second time"
    )
