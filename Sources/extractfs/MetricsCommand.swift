// `extractfs metrics`: a mount's figures as OpenMetrics, printed or served to Prometheus.

import ArgumentParser
import Glibc

struct MetricsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Print or serve a mount's figures as OpenMetrics text.",
    discussion: """
      With --listen it answers GET /metrics until it is interrupted, also while nothing is mounted, then with 503. \
      Nobody is asked for a password: whoever reaches the address can read the figures.
      """)

  @Argument(help: "The mounted directory.", completion: .directory)
  var mountpoint: SystemPath

  @Option(
    help: ArgumentHelp(
      "Serve over HTTP there; port 0 takes a free one.", valueName: "address:port"))
  var listen: ListenAddress?

  func run() throws {
    guard let listen else { return emit(try MountedControl(mountpoint).read("metrics")) }
    let path = mountpoint
    let server = MetricsServer { Self.answer(for: path) }
    guard let port = server.bind(listen) else {
      throw failure("--listen \(listen.text): \(describe(errno))")
    }
    emit("serving http://\(listen.hostInURL):\(port)/metrics\n")
    server.run()
  }

  /// What a scrape is told: each looks for the mount anew, and waits a few seconds at most.
  private static func answer(for path: SystemPath) -> MetricsServer.Answer {
    do {
      return .text(try MountedControl(path).read("metrics", seconds: 5))
    } catch {
      // What is wrong has been said on standard error.
      return .unavailable("\(path.shown): no figures are to be had\n")
    }
  }
}

/// An IP address and a port: `127.0.0.1:9464`, `[::1]:9464`.
struct ListenAddress: ExpressibleByArgument {
  /// As it was given.
  let text: String
  /// The address without brackets.
  let host: String
  let port: UInt16

  init?(argument: String) {
    guard let colon = argument.lastIndex(of: ":"),
      let port = UInt16(argument[argument.index(after: colon)...])
    else { return nil }
    var host = argument[..<colon]
    if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    if host.isEmpty || !host.allSatisfy({ $0.isHexDigit || $0 == "." || $0 == ":" }) { return nil }
    text = argument
    self.host = String(host)
    self.port = port
  }

  var hostInURL: String { host.contains(":") ? "[\(host)]" : host }
}
