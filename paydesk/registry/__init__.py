"""From an MLflow version to a model in the BentoML store, with proof; and promotion."""
