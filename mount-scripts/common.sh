# shellcheck shell=bash
# Shared by the scripts beside it; sourced, never run.
#
# Sets `root` (the top of the checkout) and `here` (this folder), and defines what every script needs:
# plain one-line errors, and the place of the executable.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
program=$(basename "$0")

# Release builds get a scratch path of their own, so that they and `swift test` never undo each other.
release_scratch=$root/.build-release

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$program" "$*" >&2; }

# die MESSAGE [EXIT-CODE]
die() {
  printf '%s: %s\n' "$program" "$1" >&2
  exit "${2:-1}"
}

# as_root COMMAND…: runs it as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "'$1' needs root, and there is no sudo: run this as root"
  fi
}

# executable: prints where extractfs is: $EXTRACTFS if set, else the release build.
executable() {
  printf '%s\n' "${EXTRACTFS:-$release_scratch/release/extractfs}"
}

# require_executable: builds extractfs unless it is there already. What it prints goes to stderr,
# so that a caller's own output stays clean.
require_executable() {
  if [ -x "$(executable)" ]; then return; fi
  if [ -n "${EXTRACTFS:-}" ]; then die "EXTRACTFS=$EXTRACTFS is not an executable file"; fi
  "$here/setup" >&2
}
