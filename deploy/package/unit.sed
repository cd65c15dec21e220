# The unit of the packages is deploy/tempestd.service with the packages' path, and without the steps of an installation by hand.
2,/^$/{/^#/d}
s|/usr/local/bin/tempestd|/usr/bin/tempestd|g
