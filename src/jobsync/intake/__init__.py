"""Moving in: files of an old flow become rows here. The verbs stand in `airtable` (CSV files of an Airtable base):
`examine_files`, `run_dry`, `apply_import`, `resume_import`, `undo_import`, `read_import`, `list_imports`, and in `reconciliation`:
`make_reconciliation`, `read_reconciliation`, `save_reconciliation`. They take paths, an engine and a progress callback, and decide
nothing that a face could not show, so that a command and a page call the same ones.
"""
