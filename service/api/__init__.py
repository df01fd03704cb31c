"""One module per wire format: each maps it onto `generations`, and holds no state of its own."""
