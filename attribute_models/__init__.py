"""What an attribute is: tensors in, scores and gradients out. Knows nothing of conversations."""
