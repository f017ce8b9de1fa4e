"""What becomes of a finished run: merged weights, files for other programs, the hub; and the proof that they hold what
was trained. Trains nothing, and leaves the run's own files as they are."""
