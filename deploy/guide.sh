#!/bin/sh
# guide.sh DIST [ROOT] - follow docs/operate.md word by word on fresh Debians: every line of its shell blocks is run as it stands there, with the version of
# DIST for 1.2.3, on one machine, and from "Move to another machine" on on a second one, which gets the archive of the release afterwards. A line of the page
# that is not followed fails. DIST is what deploy/dist.sh made. It touches nothing outside of ROOT (default: a new directory, removed at the end);
# machine.sh says what it needs.
set -eu

dist=$1
here=$(dirname "$0")
. "$here/machine.sh"
root=${2:-}
if [ -z "$root" ]; then
	root=$(mktemp -d)
	trap 'rm -rf "$root"' EXIT
fi
mkdir -p "$root"
debian "$root/fresh" curl
rm -rf "$root/old" "$root/new"
cp -a "$root/fresh" "$root/old"
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; esac

# prepare MACHINE gives it the release, the page, an upstream, and an editor that does what a person would.
prepare() {
	cp "$dist"/*_$arch.deb "$dist"/*linux-$arch.tar.gz "$here/../docs/operate.md" "$1/root/"
	tar -xzf "$(ls "$dist"/*linux-$arch.tar.gz)" -C "$1/opt" --strip-components=1 --wildcards '*/tempestd'
	cat >"$1/etc/systemd/system/sim.service" <<-'END'
		[Service]
		ExecStart=/opt/tempestd simulate --listen 127.0.0.1:6008 --rate 200
	END
	cat >"$1/usr/local/bin/editor" <<-'END'
		#!/bin/sh
		sed -i 's|^endpoints = .*|endpoints = ["ws://127.0.0.1:6008"]|' "$1"
	END
	chmod +x "$1/usr/local/bin/editor"
	cat >"$1/root/steps.sh" <<-'END'
		cd /root
		config=/etc/tempestd/config.toml
		version=$(dpkg-deb -f /root/*.deb Version)
		# The lines of the page's shell blocks, without their comments, and those that were followed.
		awk '/^```sh/ { on = 1; next } /^```/ { on = 0 } on' operate.md | sed 's/  *# .*//; /^#/d; /^$/d' >lines
		touch followed
		# run COMMAND… says what it prints only when it fails.
		run() { bash -c "${*//1.2.3-1/$version}" >said 2>&1 </dev/null || { sed 's/^/      /' said; return 1; }; }
		# step LINE [FOLLOWED] follows a line of the page, in the way of FOLLOWED where a script cannot do as it says.
		step() {
			grep -qxF -e "$1" lines || { echo "FAIL  docs/operate.md does not say: $1"; failed=1; }
			echo "$1" >>followed
			check "$1" run "${2:-$1}"
		}
		said() { grep -q "$1" said || { sed 's/^/      /' said; return 1; }; }
		live() { systemctl show tempestd -p StatusText --value | grep -q '^bluesky live, '; }
		oldest() { tempestd tail bluesky --from-start -n 1 | cut -d'"' -f4; }
		newest() { tempestd tail bluesky -n 1 | tail -n 1 | cut -d'"' -f4; }
		more() { [ "$(newest)" != "$before" ]; }
		grows() { before=$(newest); soon more; }
		whole() { [ -z "$(journalctl -b -q TEMPESTD_EVENT=store.state_lost TEMPESTD_EVENT=store.file_damaged TEMPESTD_EVENT=store.corrupt TEMPESTD_EVENT=store.truncated)" ]; }
		same() { soon live && [ "$(oldest)" = "$first" ] && grows && whole; }
		systemctl start sim
	END
}

prepare "$root/old"
boot "$root/old" 900 <<'END'
. /root/steps.sh
echo "== one machine: ${version%-*} on $(. /etc/os-release && echo $PRETTY_NAME), $(systemctl --version | head -1)"
step 'dpkg -i tempestd_1.2.3-1_amd64.deb'
step 'editor /etc/tempestd/config.toml'
step 'systemctl enable --now tempestd'
check "it is live" soon live
step 'systemctl status tempestd'
check "which says what the feed does" said 'bluesky live, '
first=$(oldest)
check "and it stores" grows

echo "-- secrets, configure"
(umask 077 && echo a-token-of-sixteen-characters >/etc/tempestd/token)
grep -qF 'token_file = "${CREDENTIALS_DIRECTORY}/token"' operate.md && sed -i 's|^#token_file = .*|token_file = "${CREDENTIALS_DIRECTORY}/token"|' $config
step 'tempestd check -c /etc/tempestd/config.toml'
check "which warns of the credential" said '^warning: .*token_file'
systemctl restart tempestd
check "it is live, with the token" soon live
check "which is asked for" eval '[ "$(curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1:7077/v1/streams)" = 401 ]'
check "and taken" run tempestd status --addr 127.0.0.1:7077 --token-file /etc/tempestd/token
cp $config before-old
printf '[feeds.old]\nendpoints = ["ws://127.0.0.1:6008"]\n' >>$config
step 'tempestd reload -c /etc/tempestd/config.toml'
check "which names what changed" said old
cp before-old $config
step 'systemctl reload tempestd'
echo 'bogus = 1' >>$config
check "a mistake is refused" eval '! systemctl reload tempestd 2>/dev/null && ! tempestd reload -c $config >said 2>&1'
check "and named" said 'bogus'
cp before-old $config
systemctl reload tempestd
step 'tempestd doctor -c /etc/tempestd/config.toml'
step 'tempestd streams list'
check "which shows the stream without a feed" said '^old .*'
step 'tempestd streams delete old' 'tempestd streams delete old --yes'

echo "-- watch"
step 'tempestd status --watch' 'timeout -s INT 3 tempestd status --watch || [ $? = 124 ]'
check "which shows the feed" said 'bluesky .*live'
step 'curl http://127.0.0.1:7077/readyz' 'curl --fail http://127.0.0.1:7077/readyz'
step 'tempestd streams info bluesky'
step 'tempestd streams trim bluesky --age 2d'
step 'tempestd tail bluesky --since yesterday --until today'
step 'tempestd log level debug'
step 'tempestd support'
check "which made one archive" eval 'ls tempestd-support*'
check "without the token" eval '! tar -xOzf tempestd-support* | grep -qF "$(cat /etc/tempestd/token)"'
step 'journalctl -u tempestd -p warning'
step 'journalctl -u tempestd TEMPESTD_EVENT=feed.caught_up -o json'
check "which has fields" said '"TEMPESTD_LOST"'

echo "-- move the position of a feed"
step 'tempestd cursor show bluesky'
step 'systemctl stop tempestd'
step 'tempestd cursor set bluesky 2h'
step 'tempestd cursor set bluesky now --yes'
step 'systemctl start tempestd'
check "it is live, with the same stream" same

echo "-- try it against faults"
systemctl stop sim
step 'tempestd simulate --rate 500 --history sim.log --fault crash/1m --fault stall@30s:20s' \
	'timeout -s INT 5 tempestd simulate --rate 500 --history sim.log --fault crash/1m --fault stall@30s:20s || [ $? = 124 ]'
systemctl start sim
check "tempestd demo --for 20s --faults" run tempestd demo --for 20s --faults
check "it is live, with the same stream" same

echo "-- upgrade, back up, verify, repair"
check "upgrade: dpkg -i" run 'dpkg -i tempestd_1.2.3-1_amd64.deb'
check "it is live, with the same stream" same
step 'tempestd streams verify'
step 'tempestd backup /backup/tempestd'
systemctl stop tempestd
step 'tempestd streams repair'
systemctl start tempestd
check "it is live, with the same stream" same
systemctl stop tempestd
find /var/lib/private/tempestd -mindepth 1 -delete
step 'tempestd restore /backup/tempestd'
systemctl start tempestd
check "it is live, with the same stream" same

echo "-- move to another machine"
check "tempestd backup /backup/tempestd" run tempestd backup /backup/tempestd
step 'systemctl disable --now tempestd'
step 'tempestd backup --offline /backup/tempestd'
step 'tar -C / -czpf moved.tar.gz backup/tempestd etc/tempestd'
echo "$first" >first
END

cp -a "$root/fresh" "$root/new"
prepare "$root/new"
cp "$root/old/root/moved.tar.gz" "$root/old/root/first" "$root/old/root/followed" "$root/new/root/"
boot "$root/new" 300 <<'END'
. /root/steps.sh
first=$(cat first)
echo "== another one"
step 'dpkg -i tempestd_1.2.3-1_amd64.deb'
step 'tar -C / -xzpf moved.tar.gz'
step 'tempestd restore /backup/tempestd'
step 'systemctl enable --now tempestd'
check "it is live, with the same stream" same

echo "-- from the archive of a release"
check "purge" run dpkg -P tempestd
mkdir archive && tar -xzf tempestd-*.tar.gz -C archive --strip-components=1
cd archive
echo 'make build' >>../followed # the archive has the binary
cp ../lines . && touch followed
step 'install -m 755 tempestd /usr/local/bin/'
step 'install -Dm 644 config.toml /etc/tempestd/config.toml'
step "sed -i 's|^#data_dir = |data_dir = |' /etc/tempestd/config.toml"
step 'install -m 644 deploy/tempestd.service /etc/systemd/system/'
editor $config
step 'systemctl daemon-reload && systemctl enable --now tempestd'
check "it is live" soon live
check "and stores" grows
check "systemctl reload tempestd" run systemctl reload tempestd
cat followed >>../followed
cd ..

# A container takes a network, which these machines lack.
grep '^podman ' lines >>followed
left=$(grep -vxF -f followed lines)
check "every line of the page was followed" eval '[ -z "$left" ] || { echo "$left" | sed "s/^/      /"; false; }'
END
