"""What a recipe trains, written down: commits, digests, versions. Compares it with what is; trains nothing."""
