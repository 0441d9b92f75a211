"""The files of an index: what lies where, and how each is written and read."""
