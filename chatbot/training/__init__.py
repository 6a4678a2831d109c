"""Everything needed to make the weights: tokenizer, corpus and trainer. Not needed to chat."""
