"""A first recipe for somebody's model, data and GPU: what they look like, what follows from it, and the text.

Each part says what it saw or chose and why; none of them trains, asks or writes a file."""
