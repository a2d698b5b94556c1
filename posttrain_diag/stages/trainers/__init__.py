"""The trainer runs that several stages share, and everything that touches TRL."""
