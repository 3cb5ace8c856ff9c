"""What speaks HTTP: the CMCD collector."""
