"""The Keras zoo: extractors, distance heads, training, published weights."""
