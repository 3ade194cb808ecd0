"""Sample until alike: draws seeds, stops those that cannot be among the best, and keeps the image that is asked for."""
