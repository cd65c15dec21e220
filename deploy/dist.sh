#!/bin/sh
# dist.sh [DIRECTORY] - make what a release of the checked-out commit is made of (default: in dist/): a deb and an rpm for each architecture of Linux, an
# archive and a bill of materials (CycloneDX) for each platform, and SHA256SUMS. VERSION=v1.2.3 names the release; without it the commit's tag does, or its
# time and hash. PLATFORMS="linux-amd64 …" makes fewer. It needs GNU tar and the Go tool chain, of which the same one makes the same bytes of a commit.
set -eu

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.48.0
cyclonedx=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
platforms=${PLATFORMS:-linux-amd64 linux-arm64 darwin-arm64}

die() {
	echo "dist.sh: $*" >&2
	exit 1
}

cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-dist}")
[ ! -e "$out" ] || [ -e "$out/SHA256SUMS" ] || die "$out exists and is not what an earlier run made"
[ -z "$(git status --porcelain)" ] || die "the tree has changes; a release is made of a commit"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C GOFLAGS=-buildvcs=true CGO_ENABLED=0
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
mkdir -p "$stage" "$work/out" "$work/bin"

for platform in $platforms; do
	GOOS=${platform%-*} GOARCH=${platform#*-} make -s build VERSION="${VERSION:-}" BINARY="$work/bin/tempestd-$platform"
done
version=${VERSION:-$(go version -m "$work/bin/tempestd-${platforms%% *}" | awk '$1 == "mod" { print $3 }')}
echo "$version" | grep -qE '^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$' || die "$version is no version like v1.2.3 or v1.2.3-rc.1"
plain=${version#v}

# What all platforms share.
cp -R LICENSE README.md CHANGELOG.md deploy/package "$stage/"
sed -f deploy/package/config.sed config.toml >"$stage/config.toml"
sed -f deploy/package/unit.sed deploy/tempestd.service >"$stage/tempestd.service"
go test -trimpath -vet=off -count=1 -run '^TestEveryCommandHasAPage$' ./cmd/tempestd -args -pages="$stage" >"$work/log" || die "$(cat "$work/log")"
gzip -9n "$stage"/man/*
gzip -9n <CHANGELOG.md >"$stage/changelog.gz"
{
	echo "tempestd contains these modules, and the standard library of Go, under these licences."
	printf '\n==== Go\n\n'
	cat "$(go env GOROOT)/LICENSE"
	for binary in "$work"/bin/tempestd-*; do go version -m "$binary"; done | awk '$1 == "dep" { print $2 }' | sort -u | while read -r module; do
		printf '\n==== %s\n\n' "$module"
		files=$(find "$(go list -m -f '{{.Dir}}' "$module")" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort)
		[ -n "$files" ] || die "$module has no licence"
		cat $files
	done
} >"$stage/LICENSES-OF-MODULES"

for platform in $platforms; do
	cp "$work/bin/tempestd-$platform" "$stage/tempestd"
	name=tempestd-$plain-$platform
	mkdir "$work/$name"
	cp config.toml "$work/$name/"
	(cd "$stage" && cp -R tempestd LICENSE LICENSES-OF-MODULES README.md CHANGELOG.md man completions "$work/$name/")
	case $platform in
	linux-*)
		mkdir "$work/$name/deploy"
		cp deploy/tempestd.service "$work/$name/deploy/"
		# A pre-release comes before its release: "~". Neither format has a second hyphen.
		for format in deb rpm; do
			(cd "$stage" && VERSION=$(echo "$plain" | sed 's/-/~/; s/-/./g') ARCH=${platform#*-} go run $nfpm package -f package/nfpm.yaml -p $format -t "$work/out/" >/dev/null)
		done
		;;
	esac
	tar -C "$work" --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -cf - "$name" |
		gzip -9n >"$work/out/$name.tar.gz"
	go run $cyclonedx bin -json -std -noserial -notimestamp -version "$version" -output "$work/out/$name.cdx.json" "$stage/tempestd" 2>"$work/log" ||
		die "$(cat "$work/log")"
done

(cd "$work/out" && sha256sum -- * >SHA256SUMS)
rm -rf "$out"
mkdir -p "$(dirname "$out")"
mv "$work/out" "$out"
cat "$out/SHA256SUMS"
