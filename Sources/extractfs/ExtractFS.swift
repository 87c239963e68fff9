// The executable: its subcommands, and nothing else.

import ArgumentParser

@main
struct ExtractFS: ParsableCommand {
  static let version = "0.1.0"
  static let configuration = CommandConfiguration(
    commandName: "extractfs",
    abstract: "A FUSE laboratory for extract-mode direct I/O.",
    discussion: """
      Mounts a backing image, turns every read and write into an I/O iterator, extracts its pages as the Linux \
      kernel does, and keeps a ledger of who pinned what, for how long, and whether everything was released.

      Exit codes: 0 done, 1 the operation failed, 2 a check found a defect, 64 wrong usage.
      """,
    version: version,
    subcommands: [
      MountCommand.self, UnmountCommand.self, MakeImageCommand.self, StatsCommand.self,
      PassThroughCommand.self, LabCommand.self, ConformanceCommand.self, BenchCommand.self,
    ])
}
