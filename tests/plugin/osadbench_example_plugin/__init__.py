"""An example of a package that adds a method and a protocol to osadbench by entry points."""
