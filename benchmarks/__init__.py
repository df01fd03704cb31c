"""Load and comparisons over real HTTP, the engine from inside, and the plots made from their stored results."""
