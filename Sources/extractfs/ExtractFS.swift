// The executable: its subcommands, and how each run begins and ends.

import ArgumentParser
import FUSEServer
import Glibc

@main
enum Program {
  static func main() {
    StandardStreams.complete()
    Inheritance.settle()
    do {
      var command = try ExtractFS.parseAsRoot(ArgumentText.arguments)
      try command.run()
    } catch {
      end(error)
    }
    Results.finish()
  }

  /// Help that was asked for is a result; all else is trouble.
  private static func end(_ error: any Error) -> Never {
    let code = ExtractFS.exitCode(for: error)
    let text = ArgumentText.shownMessage(ExtractFS.fullMessage(for: error))
    if code.isSuccess {
      emit(text.isEmpty ? "" : text + "\n")
      Results.finish()
    } else if !text.isEmpty {
      _ = StreamWriter.write(Array("\(text)\n".utf8), to: STDERR_FILENO)
    }
    exit(code.rawValue)
  }
}

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
      TopCommand.self, MetricsCommand.self, TraceCommand.self, PinsCommand.self,
      RecordCommand.self, ReportCommand.self, VerifyCommand.self, PassThroughCommand.self,
      LabCommand.self, ConformanceCommand.self, ExplainCommand.self, BenchCommand.self,
    ])
}

/// Descriptors 0 to 2.
enum StandardStreams {
  /// Puts /dev/null where a standard descriptor is missing, so that no image, device or pipe gets its number.
  ///
  /// It is opened the wrong way round: reading standard input or writing standard output still fails with EBADF, and a
  /// command that cannot print its result says so. To be called before anything is opened.
  static func complete() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
      // open(2) gives the lowest free number, and all below are taken by now.
      let opened = unsafe open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
      // Without /dev/null there is nothing that could safely stand there.
      if opened != descriptor { _exit(Exit.failed.rawValue) }
    }
  }
}
