"""Pictures that are answered by places: masks, points, boxes."""
