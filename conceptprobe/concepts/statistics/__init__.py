"""Enrichment of top lists in concepts, and null distributions."""
