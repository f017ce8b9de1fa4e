"""Arithmetic that trains faster than what it stands in for, with the same result: attention over documents laid end to
end, LoRA's linear layers, the loss. Everything here runs on a CPU too, so that a test without a GPU tests it."""
