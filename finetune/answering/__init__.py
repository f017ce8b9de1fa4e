"""Many answers at a time from one model: how each is sampled, where it ends, and how they share each step."""
