"""What a model will be trained on, for people to look at: tokens, what is learned, and figures. Trains nothing."""
