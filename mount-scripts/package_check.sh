# shellcheck shell=bash
# Tries a package on a bare Debian 12, below a temporary directory; sourced by `package`.

# mirror: where this machine gets Debian 12 from, as the sources of apt say.
mirror() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
    awk '$2 == "bookworm" { print $1; exit }'
}

# listing ROOT: the names of all files, but for those in which dpkg, apt and the kernel keep their own records.
listing() {
  find "$1" -xdev \( -path "$1/proc" -o -path "$1/dev" -o -path "$1/sys" -o -path "$1/run" -o -path "$1/tmp" -o -path "$1/var/lib/dpkg" \
    -o -path "$1/var/lib/apt" -o -path "$1/var/cache" -o -path "$1/var/log" -o -path "$1/lab" -o -path "$1/etc/ld.so.cache" \) \
    -prune -o -printf '%P %y %m\n' | sort
}

# inside ROOT COMMAND…: runs a line of shell in the bare system, with its own table of mounts, which ends with it.
inside() {
  local system=$1
  shift
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -c '
    mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
      exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash -euc "$1"' "$system" "$*"
}

# check_package FILE: installs, mounts, removes, and compares what is left. Exits 77 where there is no Debian to be had.
check_package() {
  local file=$1 system source tested
  system=$stage/system
  source=$(mirror)
  if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null || [ -z "$source" ]; then
    die "a bare Debian 12 takes root, debootstrap and a mirror in apt's sources" 77
  fi
  say "making a bare Debian 12 …"
  debootstrap --variant=minbase bookworm "$system" "$source" >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    die "debootstrap could not make a system" 77
  }
  # What the package leans on is there before, so that what is left afterwards is the package's own.
  inside "$system" "apt-get update -qq && apt-get install -y -qq --no-install-recommends fuse3 liburing2 libevent-2.1-7 mount" \
    >"$log" 2>&1 || die "the packages that it leans on cannot be had" 77
  listing "$system" >"$stage/before"
  cp "$file" "$system/tmp/extractfs.deb"
  mkdir "$system/lab"
  inside "$system" "apt-get install -y -qq --no-install-recommends /tmp/extractfs.deb" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "the package cannot be installed"
  }
  tested='
    if command -v swift; then exit 1; fi
    cd /lab; mkdir mnt
    extractfs mkimage disk.img --size 16M
    extractfs mount disk.img mnt
    dd if=/dev/urandom of=data bs=1M count=4 status=none
    dd if=data of=mnt/disk bs=1M oflag=direct conv=notrunc status=none
    grep -x "sim_nr_foll_pin_acquired 1024" mnt/.extractfs/stats
    cmp -n 4194304 data mnt/disk
    extractfs stats mnt --json >/dev/null; extractfs metrics mnt | tail -n 1 | grep -x "# EOF"
    extractfs top mnt --count 1 --interval 0.1 | grep -q "^write"
    extractfs umount mnt
    echo "/lab/disk.img /lab/mnt extractfs ro,noauto,x-systemd.idle-timeout=60 0 0" >>/etc/fstab
    mount /lab/mnt && cmp -n 4194304 data mnt/disk && extractfs umount mnt
    sed -i /extractfs/d /etc/fstab
    mount -t extractfs /lab/disk.img /lab/mnt -o iter=bvec,x-systemd.automount,nofail
    cmp -n 4194304 data mnt/disk
    umount mnt
    extractfs lab run fork-race >/dev/null'
  inside "$system" "$tested" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "the installed package does not work"
  }
  inside "$system" "apt-get purge -y -qq extractfs" >"$log" 2>&1 || die "the package cannot be removed"
  listing "$system" >"$stage/after"
  diff "$stage/before" "$stage/after" >&2 || die "the package leaves this behind"
  say "installed, mounted, and removed without a trace on a bare Debian 12"
}
