"""Proving a recipe on a CPU: a tiny model of its architecture goes the whole way of a run, and each promise is
measured."""
