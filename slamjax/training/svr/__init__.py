"""Support vector regression: by scikit-learn pixel by pixel, or all pixels on one kernel matrix."""
