"""Physical constants that the JAX core needs without astropy."""

#: Speed of light, km/s; exact by the definition of the metre.
LIGHT = 299_792.458
