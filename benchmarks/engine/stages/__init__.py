"""What is measured: each stage with its result, its goals and its table."""
