#!/bin/sh
# verify.sh - check the systemd unit: no error or warning of systemd-analyze, and an exposure score of at most MAX_EXPOSURE (default 1.2).
# It needs systemd-analyze, not a running systemd, and installs nothing.
set -eu

unit=$(dirname "$0")/tempestd.service
max=${MAX_EXPOSURE:-1.2}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# systemd-analyze wants the unit's programs to exist; any executable will do.
mkdir -p "$root/usr/local/bin"
cp /bin/true "$root/usr/local/bin/tempestd"
sed "s|/usr/local/bin/|$root/usr/local/bin/|" "$unit" > "$root/tempestd.service"

# It exits 0 on unknown keys and bad values too: whatever it says about this unit is a failure. What it says about the units of the
# machine it runs on is not ours.
said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --recursive-errors=no "$root/tempestd.service" 2>&1) && status=0 || status=$?
if [ "$status" -ne 0 ] || [ -n "$said" ]; then
	printf '%s\n' "$said" >&2
	echo "verify.sh: $unit does not pass systemd-analyze verify (status $status)" >&2
	exit 1
fi

score=$(systemd-analyze security --offline=yes --no-pager "$root/tempestd.service" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\).*/\1/p')
if ! awk -v score="$score" -v max="$max" 'BEGIN { exit !(score != "" && score + 0 <= max + 0) }'; then
	echo "verify.sh: exposure is '$score', more than $max" >&2
	exit 1
fi
echo "verify.sh: $unit is accepted; exposure $score"
