"""The data of a report's pages."""
