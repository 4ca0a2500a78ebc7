"""What is measured otherwise than by one training; what it is of, a contestant does."""
