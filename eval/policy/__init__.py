"""What the topic rules and the ethics filter do to replies, end to end."""
