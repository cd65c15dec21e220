#!/bin/sh
# boot.sh BINARY [ROOT] - boot a minimal Debian with systemd, dbus and nothing else, and hold the unit against that systemd: start, journal, reload,
# credentials, watchdog, exit codes, stop. It touches nothing outside of ROOT (default: a new directory, removed at the end). machine.sh says what it
# needs; beside that, mkfs.ext4 and a loop device, for a disk that hangs. It takes four minutes.
set -eu

binary=$1
here=$(dirname "$0")
. "$here/machine.sh"
root=${2:-}
new=
[ -n "$root" ] || root=$(mktemp -d) new=$root
disk=$root/var/lib/private
trap '! mountpoint -q "$disk" || umount "$disk"; [ -z "$new" ] || rm -rf "$new"' EXIT
debian "$root"
# The streams are on a disk of their own.
truncate -s 512M "$root/disk"
mkfs.ext4 -qF "$root/disk"
mkdir -p "$disk"
mount -o loop "$root/disk" "$disk"
chmod 700 "$disk"

install -m 755 "$binary" "$root/usr/local/bin/tempestd"
install -m 644 "$here/tempestd.service" "$root/etc/systemd/system/"
mkdir -p "$root/etc/tempestd" "$root/etc/systemd/system/tempestd.service.d"
printf '[Service]\nWatchdogSec=6s\n' >"$root/etc/systemd/system/tempestd.service.d/watchdog.conf"
(umask 077 && echo a-token-of-sixteen-characters >"$root/etc/tempestd/token")
cat >"$root/etc/tempestd/config.toml" <<'END'
[http]
token_file = "${CREDENTIALS_DIRECTORY}/token"
[stream]
min_free = "16MiB"
[feeds.sim]
endpoints = ["ws://127.0.0.1:6008"]
END
cat >"$root/etc/systemd/system/sim.service" <<'END'
[Service]
ExecStart=/usr/local/bin/tempestd simulate --listen 127.0.0.1:6008 --rate 20
END

boot "$root" 600 <<'END'
config=/etc/tempestd/config.toml
log() { journalctl -b -u tempestd --no-pager "$@"; }
status() { systemctl show tempestd -p StatusText --value | grep -q "$1"; }
starved() { [ "$(log -q | grep -c 'Watchdog timeout')" = "$1" ]; }
told() { log TEMPESTD_EVENT="$1" -o json | grep -q "$2"; }

systemctl --version | head -1
systemctl start sim
check "start" systemctl start tempestd
check "an event has fields" soon told feed.caught_up '"TEMPESTD_LOST":"nothing"'
check "no warning while all is well" test -z "$(log -p warning -q)"
check "live words" soon status "^sim live, "

echo 'collections = ["app.bsky.feed.post"]' >>$config
check "a good reload" systemctl reload tempestd
check "it is in force" soon told config.reloaded '"TEMPESTD_FEEDS":"sim"'
cp $config /root/config; echo 'bogus = 1' >>$config
check "a bad reload fails" eval '! systemctl reload tempestd'
check "the journal says why" eval 'log | grep -q "feeds.sim.bogus: unknown key"'
check "the daemon runs on" systemctl is-active -q tempestd
cp /root/config $config
check "check outside of the unit" eval 'tempestd check -q -c $config 2>&1 | grep -q "^warning: "'

systemctl stop sim
check "a dead upstream is told" soon status "^sim disconnected since "
sleep 15
check "and does not starve the watchdog" shown NRestarts 0
check "warnings reach the journal" eval 'log -p warning -q | grep -q "feed.disconnected sim"'
kill -STOP "$(systemctl show tempestd -p MainPID --value)"
check "a frozen daemon is restarted" soon shown NRestarts 1

systemctl start sim
check "it is live again" soon status "^sim live, "
fsfreeze -f /var/lib/private
for _ in 1 2 3 4 5 6; do soon starved 2 && break; done
check "a disk that hangs starves the watchdog" starved 2
fsfreeze -u /var/lib/private
check "which restarts the daemon" soon shown NRestarts 2
check "it goes on when the disk does" soon status "^sim live, "
check "and has lost nothing" test -z "$(log -q TEMPESTD_EVENT=store.truncated TEMPESTD_EVENT=store.file_damaged TEMPESTD_EVENT=store.state_lost TEMPESTD_EVENT=feed.gapped)"

tempestd simulate --listen 127.0.0.1:7078 >/dev/null 2>&1 &
sleep 2
sed -i 's/^\[http\]/&\nlisten = "127.0.0.1:7078"/' $config
check "a busy port fails" eval '! systemctl restart tempestd'
sleep 5
check "with 69" shown ExecMainStatus 69
check "and is not tried again" shown ActiveState failed
cp /root/config $config
check "start again" systemctl start tempestd
check "stop" systemctl stop tempestd
check "with 0" shown ExecMainStatus 0
systemd-analyze security tempestd --no-pager | tail -1
END
