"""How fast this machine runs EAT, and what limits it."""
