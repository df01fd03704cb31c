"""Load generation and comparisons over real HTTP, and the plots made from their stored results."""
