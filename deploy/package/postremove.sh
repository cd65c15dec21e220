#!/bin/sh
# After the files are gone. What the daemon stored stays, but for dpkg's "purge", which takes it and the configuration; rpm has no such step.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/lib/tempestd /var/lib/private/tempestd /etc/tempestd
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
