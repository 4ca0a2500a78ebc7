"""What a launch would do, found out without doing it."""
