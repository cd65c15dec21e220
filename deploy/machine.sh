# machine.sh - for other scripts: a minimal Debian with systemd in a directory, and a script that runs in it, as on a machine that has just been set up.
# It needs root, systemd-nspawn, and debootstrap unless the directory has such a Debian already. The machine has no network but its own loopback.

# debian DIRECTORY [PACKAGE,…] makes the Debian, with more packages than systemd and dbus.
debian() {
	[ -e "$1/usr/lib/systemd/systemd" ] || debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus${2:+,$2} "${SUITE:-bookworm}" "$1" ${MIRROR:-} >&2
}

# boot DIRECTORY SECONDS <SCRIPT boots it, runs the script once it is up, powers it off, and prints what the script printed. It fails unless all checks
# of the script passed.
boot() {
	mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
	cat >"$1/etc/systemd/system/machine.service" <<-'END'
		[Unit]
		After=multi-user.target
		[Service]
		Type=oneshot
		ExecStart=/bin/bash /root/machine.sh
		ExecStopPost=/bin/systemctl poweroff
	END
	ln -sf ../machine.service "$1/etc/systemd/system/multi-user.target.wants/"
	cat >"$1/root/machine.sh" <<-'END'
		exec >/root/machine.out 2>&1
		failed=0
		# check WHAT COMMAND… prints whether the command succeeds.
		check() {
			local what=$1
			shift
			if "$@"; then echo "ok    $what"; else echo "FAIL  $what"; failed=1; fi
		}
		# soon COMMAND… tries it for 30 s.
		soon() { for _ in $(seq 60); do "$@" && return; sleep 0.5; done; return 1; }
		shown() { [ "$(systemctl show tempestd -p "$1" --value)" = "$2" ]; }
	END
	cat - >>"$1/root/machine.sh"
	echo 'echo "end $failed"' >>"$1/root/machine.sh"
	rm -f "$1/root/machine.out"
	timeout "$2" systemd-nspawn -q --register=no --keep-unit --private-network -D "$1" --boot </dev/null >"$1/root/boot.log" 2>&1 || tail "$1/root/boot.log" >&2
	cat "$1/root/machine.out"
	grep -qx 'end 0' "$1/root/machine.out"
}
