"""The stages, one a module: what there is to measure, how, and the table of it."""
