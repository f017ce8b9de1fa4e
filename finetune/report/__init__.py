"""What a run left behind, for people to look at: one page of a run, one that compares several, a table of many."""
