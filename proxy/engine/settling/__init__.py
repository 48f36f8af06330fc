"""What an ended generation comes to: its tokens, its price, its record, and where that is sent."""
