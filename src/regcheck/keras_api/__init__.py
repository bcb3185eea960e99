"""Facts about live Keras models that run on torch. Imports neither Keras nor torch: it reads what a program imported."""
