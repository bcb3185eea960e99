"""Live Keras models that run on torch. Imports neither Keras nor torch: it reads what the program imported."""
