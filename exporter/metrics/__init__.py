"""What we tell Prometheus: every family declared once, and the text they are rendered to."""
