"""`--verify`: what it finds, and what it leaves alone."""
