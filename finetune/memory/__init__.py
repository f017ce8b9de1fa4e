"""How much of a GPU's memory a run takes, known before it: weights, adapter, gradients, optimizer, activations, loss.
From config.json, the Plan and the lengths of the data; nothing here loads a model but the trial of the largest
batch."""
