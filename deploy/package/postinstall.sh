#!/bin/sh
# After an install, an upgrade or a downgrade. A daemon that runs, or tries to, is started anew; one that does not is left alone, so an install starts
# nothing. deb-systemd-invoke asks the policy of a Debian first.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	case $(systemctl show -p ActiveState --value tempestd.service) in
	active | activating | reloading)
		"$(command -v deb-systemd-invoke || command -v systemctl)" restart tempestd.service ||
			echo "tempestd does not run: 'systemctl status tempestd' says why" >&2
		;;
	esac
fi
