"""What a comparison ends in: claims, the intervals of looks, and the words; nothing of it reads results."""
