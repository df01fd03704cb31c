"""The fan-out: what it takes to hand previews to thousands of streams, and how long they take to arrive."""
