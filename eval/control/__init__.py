"""Does control work, by judges that took no part in it, and what does it cost?"""
