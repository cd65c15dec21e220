#!/bin/sh
# Puts back each bug of testdata/breaks in a worktree of its own, and says after how many seeds the
# oracle finds it. Usage: breaks.sh [name…]; SEEDS is how many seeds are tried, 1000 by default. The
# schedule that shows it goes to testdata/found, where a test runs it, unless there is one.
set -eu
root=$(git rev-parse --show-toplevel)
breaks=$root/internal/oracle/testdata/breaks
tree=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$tree/work" 2>/dev/null; rm -rf "$tree"' EXIT
git -C "$root" worktree add --quiet --detach "$tree/work" HEAD
cd "$tree/work"
[ $# -gt 0 ] || set -- $(cd "$breaks" && ls *.patch)
missed=0
for name; do
	name=${name%.patch}
	git apply "$breaks/$name.patch"
	go test -c -o "$tree/oracle.test" ./internal/oracle
	if found=$(GOGC=400 "$tree/oracle.test" -test.run '^TestOracle$' -test.timeout 60m -test.v -oracle.first -oracle.seeds "${SEEDS:-1000}" -oracle.save "$tree/found" 2>&1); then
		echo "$name: NOT FOUND"
		missed=1
	else
		echo "$name: $(echo "$found" | sed -n 's/.*\(found after .*\)/\1/p')$(echo "$found" | sed -n 's/^ *# \([a-z ]*\): .*/ (\1)/p' | head -1)"
	fi
	[ ! -f "$tree/found" ] || cp -n "$tree/found" "$root/internal/oracle/testdata/found/$name.txt"
	rm -f "$tree/found"
	git checkout --quiet .
done
exit $missed
