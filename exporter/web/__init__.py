"""What a visitor gets: the exposition, health, and a page for people."""
