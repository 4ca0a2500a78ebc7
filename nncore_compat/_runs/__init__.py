"""What runs have left in their folders, read without torch and without touching anything."""
