#!/bin/sh
# lifecycle.sh OLD NEW [ROOT] - take the packages of two releases through their life on a fresh Debian: install, edit one file, start, upgrade, downgrade, a
# store of a later version, back up, remove, install again, purge, restore; the deb first and then the rpm. OLD and NEW are what deploy/dist.sh made,
# with different versions. Its output is deploy/lifecycle.txt. It touches nothing outside of ROOT (default: a new directory, removed at the end); machine.sh
# says what it needs.
set -eu

old=$1 new=$2
. "$(dirname "$0")/machine.sh"
root=${3:-}
if [ -z "$root" ]; then
	root=$(mktemp -d)
	trap 'rm -rf "$root"' EXIT
fi
debian "$root" rpm,man-db,bash-completion

machine=$(uname -m)
case $machine in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; esac
mkdir -p "$root/root/old" "$root/root/new"
cp "$old"/*_$arch.deb "$old"/*.$machine.rpm "$root/root/old/"
cp "$new"/*_$arch.deb "$new"/*.$machine.rpm "$root/root/new/"
# The upstream is a program of its own: packages come and go beside it.
tar -xzf "$(ls "$new"/*linux-$arch.tar.gz)" -C "$root/root" --strip-components=1 --wildcards '*/tempestd'
cat >"$root/etc/systemd/system/sim.service" <<'END'
[Service]
ExecStart=/root/tempestd simulate --listen 127.0.0.1:6008 --rate 200
END

boot "$root" 1200 <<'END'
config=/etc/tempestd/config.toml
state=/var/lib/tempestd
edited='endpoints = ["ws://127.0.0.1:6008"]'
installed() { tempestd version | cut -d' ' -f2; }
running() { /proc/$(systemctl show tempestd -p MainPID --value)/exe version | cut -d' ' -f2; }
is() { [ "$1" = "$2" ] || { echo "      $1 is not $2"; return 1; }; }
edit() { sed -i "s|^endpoints = .*|$edited|" $config; }
kept() { grep -qF "$edited" $config; }
live() { systemctl show tempestd -p StatusText --value | grep -q '^bluesky live, '; }
oldest() { tempestd tail bluesky --from-start -n 1 | cut -d'"' -f4; }
newest() { tempestd tail bluesky -n 1 | tail -n 1 | cut -d'"' -f4; }
more() { [ "$(newest)" != "$before" ]; }
# same: the daemon is live with what it had, and stores more.
same() { soon live && is "$(oldest)" "$first" && soon more; }
hash() { (cd $state/store && find . -type f ! -name LOCK -exec sha256sum {} + | sort | sha256sum); }
# quietly prints what a command says only when it fails.
quietly() { "$@" >/root/said 2>&1 || { sed 's/^/      /' /root/said; return 1; }; }
old=$(dpkg-deb -f /root/old/*.deb Version)
new=$(dpkg-deb -f /root/new/*.deb Version)

systemctl start sim

# life FORMAT INSTALL UPGRADE DOWNGRADE REMOVE
life() {
	echo "== $1: ${old%-*} and ${new%-*} on $(. /etc/os-release && echo $PRETTY_NAME), $(systemctl --version | head -1)"
	unset TEMPESTD_TOKEN
	check "install: $2" quietly $2
	check "nothing is started" shown ActiveState inactive
	check "nor enabled" eval '! systemctl is-enabled -q tempestd'
	check "the version is the release's" is "$(installed)" "v${old%-*}"
	check "the manual is there" eval 'man -w tempestd tempestd-streams-verify tempestd.toml >/dev/null'
	check "bash completes" is "$(bash -c '. /usr/share/bash-completion/bash_completion; . /usr/share/bash-completion/completions/tempestd
		COMP_WORDS=(tempestd stat) COMP_CWORD=1 COMP_LINE="tempestd stat" COMP_POINT=13; __start_tempestd 2>/dev/null; echo $COMPREPLY' | tr -d ' ')" status
	check "the packaged configuration is valid" quietly tempestd check -q

	edit
	check "edit one file, and start" systemctl enable -q --now tempestd
	check "it is live" soon live
	before=$(newest); check "and stores" soon more
	first=$(oldest)
	sed -i 's|^level = "info"|level = "warn"|' $config
	check "change a key, and reload" systemctl reload tempestd
	(umask 077 && echo a-token-of-sixteen-characters >/etc/tempestd/token)
	sed -i 's|^#token_file = |token_file = |' $config
	check "set a token, and restart" systemctl restart tempestd
	check "which is wanted from now on" eval '! tempestd tail bluesky -n 1 --addr 127.0.0.1:7077 >/dev/null 2>&1'
	export TEMPESTD_TOKEN=$(cat /etc/tempestd/token)
	check "and taken" eval 'soon live && tempestd status --addr 127.0.0.1:7077 >/dev/null 2>&1'

	before=$(newest)
	check "upgrade: $3" quietly $3
	check "the new version runs" is "$(running)" "v${new%-*}"
	check "with the configuration as edited" kept
	check "with the same stream, which grows" same
	before=$(newest)
	check "downgrade: $4" quietly $4
	check "the old version runs" is "$(running)" "v${old%-*}"
	check "with the same stream, which grows" same

	systemctl stop tempestd
	cp $state/store/FORMAT /root/FORMAT
	sed -i 's/[0-9]*$/99/' $state/store/FORMAT
	before=$(hash)
	check "a store of a later version is refused" eval '! systemctl start tempestd 2>/dev/null'
	check "with 65, and no other try" eval 'sleep 4; shown ExecMainStatus 65 && shown ActiveState failed && shown NRestarts 0'
	check "and left as it is" is "$(hash)" "$before"
	journalctl -u tempestd -o cat -n 40 | grep -o 'has the format.*' | tail -1 | sed 's/^/      /'
	check "nothing of this stands in the way of an upgrade" quietly $3
	cp /root/FORMAT $state/store/FORMAT
	check "which runs when started" systemctl start tempestd
	before=none; check "with the same stream" same
}

life deb "dpkg -i $(ls /root/old/*.deb)" "dpkg -i $(ls /root/new/*.deb)" "dpkg -i $(ls /root/old/*.deb)"

check "back up" quietly tempestd backup /backup/tempestd
systemctl disable -q --now tempestd
check "and what came since" quietly tempestd backup --offline /backup/tempestd
tar -C / -czpf /root/moved.tar.gz backup/tempestd etc/tempestd
systemctl enable -q --now tempestd

check "remove: dpkg -r tempestd" quietly dpkg -r tempestd
check "the daemon is stopped" eval '! systemctl is-active -q tempestd'
check "and its program gone" eval '! [ -e /usr/bin/tempestd ]'
check "configuration and streams stay" eval 'kept && [ -e $state/store/FORMAT ]'
check "install again" quietly dpkg -i /root/new/*.deb
check "start" systemctl enable -q --now tempestd
check "with the same stream" same
check "purge: dpkg -P tempestd" quietly dpkg -P tempestd
check "nothing is left" eval '[ -z "$(ls -d /etc/tempestd $state /var/lib/private/tempestd /usr/bin/tempestd /etc/systemd/system/*/tempestd.service 2>/dev/null)" ]'
check "and no unit" shown LoadState not-found

# As docs/operate.md says, on a machine that never had it.
rm -r /backup
check "another machine: install" quietly dpkg -i /root/new/*.deb
tar -C / -xzpf /root/moved.tar.gz
check "restore" quietly tempestd restore /backup/tempestd
check "start" systemctl enable -q --now tempestd
before=none; check "with the same stream" same
check "which is whole" quietly tempestd streams verify
quietly dpkg -P tempestd

# Debian's database of rpm knows nothing of this machine, so dependencies are not asked for.
life rpm "rpm -i --nodeps $(ls /root/old/*.rpm)" "rpm -U --nodeps $(ls /root/new/*.rpm)" "rpm -U --nodeps --oldpackage $(ls /root/old/*.rpm)"
check "remove: rpm -e tempestd" quietly rpm -e tempestd
check "the daemon is stopped" eval '! systemctl is-active -q tempestd'
check "the edited configuration is $config.rpmsave" grep -qF "$edited" $config.rpmsave
check "the streams stay" test -e $state/store/FORMAT
rm -r /etc/tempestd $state /var/lib/private/tempestd /backup
END
