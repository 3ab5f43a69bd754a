"""What a page or an explanation shows of a row: its parts, pictures, sound."""
