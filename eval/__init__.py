"""Numbers about the bot, offline: what it makes of given files."""
