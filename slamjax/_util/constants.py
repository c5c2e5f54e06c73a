"""Physical constants that the JAX core needs without astropy."""

#: Speed of light, km/s; exact by the definition of the metre.
LIGHT = 299_792.458
#: Full width at half maximum of a Gaussian over its standard deviation.
FWHM = 2.3548200450309493
