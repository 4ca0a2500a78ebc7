"""Empty on purpose: the reference only asks that this package exists."""
