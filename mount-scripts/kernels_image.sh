# shellcheck shell=bash
# The disk of mount-scripts/kernels' guests; sourced, never run. Needs `root`, `cpus` and what the options say.
#
# It holds whole packages of this machine rather than chosen programs, so that a test may run what it likes, and all
# at the same paths as here, so that a test finds what stands beside its source.

# What the tests run. A package that is not installed is left out: its tests then skip.
guest_packages=(
  base-files base-passwd libc-bin bash dash coreutils diffutils findutils grep sed mawk gawk tar procps psmisc
  util-linux util-linux-extra bsdutils mount fdisk e2fsprogs fuse3 attr acl fio login passwd rsync strace
  'python3*-minimal' 'libpython3*-minimal' 'libpython3*-stdlib'
)

# test_binary: prints where the tests are, an executable file on Linux.
test_binary() {
  say "$(readlink -f "$root/.build/debug")/extractfsPackageTests.xctest"
}

# package_files: prints the files of the packages, without what is only read by people.
package_files() {
  local installed
  mapfile -t installed < <(
    dpkg-query -W -f='${db:Status-Abbrev} ${binary:Package}\n' "${guest_packages[@]}" 2>/dev/null |
      awk '$1 == "ii" { print $2 }')
  dpkg-query -L "${installed[@]}" |
    grep -vE '^$|^package diverts|^diverted by|/share/(doc|man|info|locale|lintian|bash-completion)/' || true
}

# own_files: prints what is of this project, and what tests look for beside their source.
own_files() {
  local tests
  tests=$(test_binary)
  say "$(executable)"
  say "$tests"
  find "$(dirname "$tests")" -maxdepth 2 -path '*.resources*'
  find "$root/Tests" "$root/mount-scripts" "$root/Sources/CPassThrough" "$root/README.md" -type f
}

# libraries: prints what the programs and libraries named on standard input are linked to.
libraries() {
  local file programs=()
  while read -r file; do
    if [ -f "$file" ] && [ "$(head -c 4 "$file" | tr -d '\0')" = $'\x7fELF' ]; then programs+=("$file"); fi
  done
  ldd "${programs[@]}" 2>/dev/null | grep -oE '/[^ ]+ \(0x' | sed 's/ (0x$//' | sort -u || true
}

# with_targets: prints each path of standard input, and where it leads to if it is a link.
with_targets() {
  local path
  while read -r path; do
    say "$path"
    if [ -L "$path" ] && [ -f "$path" ]; then readlink -f "$path"; fi
  done
}

# copy_files LIST TREE: copies the files of a list to the same places below a tree. Links stay links.
copy_files() {
  tar -C / --create --no-recursion --ignore-failed-read --files-from <(sed 's|^/||' "$1" | sort -u) 2>/dev/null |
    tar -C "$2" --extract --keep-directory-symlink --no-same-owner
}

# write_settings: what the guest is to do, as shell variables.
write_settings() {
  local name
  for name in EXTRACTFS tests transports filter skip; do
    case $name in
      EXTRACTFS) printf 'export EXTRACTFS=%q\n' "$(executable)" ;;
      tests) printf 'tests=%q\n' "$(test_binary)" ;;
      *) printf '%s=%q\n' "$name" "${!name}" ;;
    esac
  done
}

# make_image IMAGE FOLDER…: makes the disk, with the modules of the kernels in those folders.
make_image() {
  local image=$1 tree list folder
  shift
  tree=$(dirname "$image")/tree list=$(dirname "$image")/list
  # /bin and its like are links to these on a machine that has merged them, and their files come first.
  mkdir -p "$tree"/usr/{bin,sbin,lib,lib64}
  { package_files && own_files && say /bin/busybox && say /usr/bin/busybox; } >"$list"
  libraries <"$list" >"$list.libraries"
  { cat "$list" "$list.libraries" && printf '%s\n' /bin /sbin /lib /lib64 /etc/ld.so.cache; } |
    with_targets >"$list.all"
  copy_files "$list.all" "$tree"
  mkdir -p "$tree"/{proc,sys,dev,run,tmp,root,var/tmp,etc,modules}
  chmod 1777 "$tree/tmp" "$tree/var/tmp"
  cp /usr/share/base-passwd/passwd.master "$tree/etc/passwd"
  cp /usr/share/base-passwd/group.master "$tree/etc/group"
  printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
  for folder; do
    mkdir -p "$tree/modules/$(cat "$folder/name")"
    cp "$folder"/*.ko "$tree/modules/$(cat "$folder/name")/" 2>/dev/null || true
  done
  cp "$here/kernels_guest" "$tree/kernels_guest"
  write_settings >"$tree/kernels_settings"
  truncate --size=4G "$image"
  PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -E root_owner=0:0 -d "$tree" "$image"
  rm -rf "$tree" "$list" "$list.libraries" "$list.all"
}
