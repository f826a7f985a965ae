"""What a server shows over HTTP: its metrics, and a page for an operator."""
