# shellcheck shell=bash
# Getting Debian's kernels for mount-scripts/kernels; sourced, never run. Needs `cache`.
#
# The system's own configuration of apt is read, for where Debian's mirrors are, and never changed: what is asked here
# has a state of its own, below the cache.

# Debian's releases whose kernels are looked at, old to new.
releases=(bookworm trixie)

# The small kernels without drivers for hardware: they boot soonest.
kernel_package=linux-image-cloud-amd64

# What a guest may need that is not built into every kernel.
guest_modules=(fuse loop overlay)

# private_apt PROGRAM ARGUMENT…: runs a program of apt with the state below the cache.
private_apt() {
  local program=$1 state=$cache/apt
  shift
  timeout 90 "$program" -q \
    -o Dir::State="$state/state" -o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" \
    -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin \
    -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::trustedparts="$state/keys" -o Dir::Etc::preferencesparts=/dev/null \
    -o APT::Sandbox::User=root -o Acquire::http::Timeout=20 -o Acquire::Retries=1 "$@"
}

# mirrors PATTERN: where the system gets suites from whose name fits a pattern, as the sources of apt say.
mirrors() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
    awk -v pattern="$1" '$2 ~ pattern { print $1; exit }'
}

# write_sources: the suites that kernels come from. Those of security and backports have short lists, and their
# kernels are the newest; the lists of whole releases are read only where `$1` is `whole`.
write_sources() {
  local main security release
  main=$(mirrors '^[a-z]+$')
  security=$(mirrors '-security$')
  [ -n "$main" ] || main=$(mirrors '^[a-z]+(-updates|-backports)$')
  for release in "${releases[@]}"; do
    if [ -n "$main" ]; then
      say "deb $main $release-backports main"
      if [ "${1:-}" = whole ]; then say "deb $main $release main"; fi
    fi
    if [ -n "$security" ]; then say "deb $security $release-security main"; fi
  done >"$cache/apt/sources.list"
  [ -s "$cache/apt/sources.list" ]
}

# The lists that the last update has read: empty, `short` or `whole`.
lists_read=

# update_lists KIND: reads the package lists, once each kind.
update_lists() {
  if [ "$lists_read" = "$1" ] || [ "$lists_read" = whole ]; then return; fi
  lists_read=$1
  command -v apt-get >/dev/null || return 1
  mkdir -p "$cache"/apt/{state/lists/partial,cache/archives/partial,keys}
  # The keys of releases that are newer than this machine's are in either place.
  cp -f /etc/apt/trusted.gpg.d/*.asc /etc/apt/trusted.gpg.d/*.gpg /usr/share/keyrings/debian-archive-*.gpg \
    "$cache/apt/keys/" 2>/dev/null || true
  write_sources "$1" || return 1
  # A mirror without one of the suites is no reason to do without the others.
  private_apt apt-get update >"$cache/logs/apt.log" 2>&1 || true
}

# begins VERSION TEXT: whether a version begins so: 6.1 fits 6.1.192-2, not 6.12.95.
begins() { [[ $2 == "$1" || $2 == "$1"[.~+-]* ]]; }

# newest_package VERSION: prints the version of the newest package whose version begins so.
newest_package() {
  local found
  while read -r found; do
    if begins "$1" "$found"; then
      say "$found"
      return
    fi
  done < <(private_apt apt-cache madison "$kernel_package" 2>/dev/null | awk -F ' *[|] *' '{ print $2 }')
  return 1
}

# parts_of PACKAGE VERSION: prints the packages that a kernel consists of, each by the one that needs it.
parts_of() {
  local needed
  private_apt apt-cache show "$1=$2" 2>/dev/null | sed -n 's/^Depends: //p' | tr ',' '\n' |
    sed -nE 's/^ *(linux-(image|modules|base|binary)-[0-9][^ ]*) .*/\1/p' |
    while read -r needed; do
      say "$needed"
      parts_of "$needed" "$2"
    done | sort -u
}

# unpack VERSION FOLDER: downloads a kernel's packages and keeps what boots: the image and some modules.
unpack() {
  local version=$1 folder=$2 scratch parts patterns file module
  mapfile -t parts < <(parts_of "$kernel_package" "$version")
  [ "${#parts[@]}" -gt 0 ] || return 1
  scratch=$(mktemp -d "$cache/unpack.XXXXXX")
  (
    set -e
    cd "$scratch"
    private_apt apt-get download "${parts[@]/%/=$version}" >>"$cache/logs/apt.log" 2>&1
    mkdir tree kernel
    mapfile -t patterns < <(printf "*/%s.ko*\n" "${guest_modules[@]}")
    for file in *.deb; do
      dpkg-deb --fsys-tarfile "$file" | tar -C tree --extract --wildcards '*/vmlinuz*' "${patterns[@]}" 2>/dev/null || true
    done
    cp "$(find tree -name 'vmlinuz*' -type f | head -n 1)" kernel/vmlinuz
    find tree -path '*/modules/*' -name '*-*' -type d -printf '%f\n' | head -n 1 >kernel/name
    for module in "${guest_modules[@]}"; do
      file=$(find tree -name "$module.ko" -o -name "$module.ko.xz" | head -n 1)
      case $file in
        *.xz) xz -dc "$file" >"kernel/$module.ko" ;;
        ?*) cp "$file" kernel/ ;;
      esac
    done
    [ -s kernel/vmlinuz ] && [ -s kernel/name ]
    rm -rf "$folder"
    mv kernel "$folder"
  ) || { rm -rf "$scratch" && return 1; }
  rm -rf "$scratch"
}

# cached_kernel VERSION: prints the newest folder of the cache whose version begins so.
cached_kernel() {
  local folder
  while read -r folder; do
    if begins "$1" "$folder" && [ -s "$cache/kernels/$folder/name" ]; then
      say "$cache/kernels/$folder"
      return
    fi
  done < <(ls "$cache/kernels" | sort -rV)
  return 1
}

# find_kernel VERSION: sets `found_kernel` to the folder of the newest kernel whose version begins so, got if need be.
find_kernel() {
  local version kind
  mkdir -p "$cache/kernels" "$cache/logs"
  for kind in short whole; do
    if ! update_lists "$kind" >&2; then break; fi
    if version=$(newest_package "$1"); then
      if [ ! -s "$cache/kernels/$version/name" ]; then
        warn "getting kernel $version"
        unpack "$version" "$cache/kernels/$version" || warn "kernel $version cannot be had; see $cache/logs/apt.log"
      fi
      break
    fi
  done
  found_kernel=$(cached_kernel "$1")
}
