"""The engine from inside: what it makes of its model and its machine, without HTTP."""
