"""Mixed traffic over HTTP, with every request accounted for."""
