"""From the champions to a container image, and what runs it."""
