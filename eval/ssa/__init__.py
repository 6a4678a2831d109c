"""Sensibleness and specificity of responses, and what is said about them."""
