// `extractfs conformance`: runs the kernel's vectors against the model.

import ArgumentParser
import Conformance
import Glibc
import Memory

struct ConformanceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "conformance", abstract: "Run conformance vectors (JSON Lines) against the model.",
    discussion: "Exit code 2 means that a vector failed.")

  @Argument(help: "A directory of *.jsonl files.", completion: .directory)
  var directory: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let report: ConformanceReport
    do throws(Errno) {
      report = try ConformanceRunner.run(directory: directory)
    } catch {
      if error == .noSuchFile, unsafe access(directory, F_OK) == 0 {
        throw failure("\(directory): no vectors (*.jsonl) are there")
      }
      throw failure("\(directory): \(describe(error.rawValue))")
    }
    if json {
      emitJSON([
        "kernels": report.kernels.mapValues { families in
          families.mapValues { ["passed": $0.passed, "failed": $0.failed] }
        },
        "passed": report.passed, "failed": report.failed,
        "failures": report.failures.map { ["id": $0.id, "difference": $0.difference] },
      ])
    } else {
      for failure in report.failures { emit("\(failure.id): \(failure.difference)\n") }
      emitKernels(report)
      emit("\(report.passed) passed, \(report.failed) failed\n")
    }
    if report.failed > 0 { throw Exit.defect }
  }

  /// Prints a line for each kernel and family of vectors that name a kernel.
  private func emitKernels(_ report: ConformanceReport) {
    for (kernel, families) in report.kernels.sorted(by: { $0.key < $1.key }) {
      for (family, count) in families.sorted(by: { $0.key < $1.key }) {
        emit("\(kernel) \(family): \(count.passed) passed, \(count.failed) failed\n")
      }
    }
  }
}
