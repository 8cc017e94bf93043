#!/bin/sh
# Makes a root file system that holds what the given paths need to run, and nothing else:
#
#     sh root.sh ROOT PATH...
#
# Copied are the paths, the shared libraries that any program or library among them is linked with, and the dpkg records
# of the packages that all this came from, by which scanners know an image's contents.
set -eu
root=$1
shift
mkdir -p "$root"
cp --archive --parents "$@" "$root"

# ldd fails on what is no program; a library that cannot be found fails us.
find "$@" -type f \( -perm /111 -o -name '*.so*' \) -exec ldd {} + 2>/dev/null > /tmp/linked || true
if grep 'not found' /tmp/linked; then
  exit 1
fi
sed -nE 's@^[^/]*(/[^ ]+) \(0x.*@\1@p' /tmp/linked | sort -u | xargs -d '\n' cp --dereference --parents --target-directory "$root"

# dpkg knows libraries by their name below /usr/lib, the linker by that below /lib, which is the same folder.
mkdir -p "$root/var/lib/dpkg/status.d"
find "$root" -type f | sed "s@^$root@@; p; s@^/lib@/usr/lib@" | xargs -d '\n' dpkg-query --search 2>/dev/null | cut -d: -f1 | sort -u |
  while read -r package; do
    dpkg-query --status "$package" > "$root/var/lib/dpkg/status.d/$package"
  done
install -d -m 1777 "$root/tmp"
