"""How results are written: whole files, whole folders, tables."""
