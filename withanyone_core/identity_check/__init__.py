"""Who is in an image, and what went wrong: people's photos and anybody's images to a diagnosis for each person."""
