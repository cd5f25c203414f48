"""A paper's table with our records beside its printed values, in every format.

:func:`build_published_table` gathers; ``terminal``, ``markdown``, ``latex``, ``as_csv`` and
``as_json`` print what it returns. Nothing here runs, reads or writes anything.
"""
