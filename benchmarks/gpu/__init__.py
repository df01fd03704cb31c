"""The device path, measured on a GPU: from the card's ceiling to the whole service under load."""
