"""Rows: reading them from files and hubs, splitting validation rows off, packing examples."""
