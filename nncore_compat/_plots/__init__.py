"""Curves of runs, as a picture, a page or a text."""
