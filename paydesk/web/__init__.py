"""The HTTP surface: routes, errors, and what guards them."""
