"""What the families of generators do differently; `chatbot.backbone` is their common face."""
