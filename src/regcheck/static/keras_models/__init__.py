"""Reads the source of Keras and tf.keras models, without importing either."""
