"""What is shown to people: documents and their renderings."""
