"""What a record of a decision holds, its bytes, and what they leave out."""
