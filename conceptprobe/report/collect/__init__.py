"""What a report is made of: models, concepts, vectors."""
