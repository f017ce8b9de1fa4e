"""A run made again from its folder, and whether it came to the same. Trains nothing itself."""
