"""The part of Lucent's `misc` that shows images."""
