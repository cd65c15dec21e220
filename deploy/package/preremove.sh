#!/bin/sh
# Before the files go: dpkg says "remove", rpm "0". An upgrade stops nothing.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl --no-reload disable --now tempestd.service
	fi
	;;
esac
