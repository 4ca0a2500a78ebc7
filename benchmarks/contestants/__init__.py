"""Who takes part. Each module has the same functions; a spec says what is to be done."""
