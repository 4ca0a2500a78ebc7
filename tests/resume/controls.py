"""What is left out of a resumption, to see that the comparison notices."""

CONTROLS: dict = {}
