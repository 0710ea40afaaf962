"""The gate of `nsbench report --fail-on`: what may not have got worse, how sure that is, and how it is told."""
