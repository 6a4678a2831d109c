"""The HTTP API: OpenAI's chat completions, answered in batches."""
