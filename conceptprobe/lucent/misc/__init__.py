"""What is left of Lucent's `misc`."""
