// Several control files at once, for those who must clear up before they complain.

import ArgumentParser
import Glibc

/// Why a mount's files cannot be read: one line.
struct TopTrouble: Error, CustomStringConvertible {
  let message: String
  var description: String { message }
}

extension MountedControl {
  /// The texts of control files, read one after the other by one child.
  /// - Throws: `TopTrouble`; nothing has been said yet.
  func texts(of files: [String], seconds: Double = 10) throws -> [String] {
    let paths = files.map { mountpoint.appending(".extractfs/\($0)") }
    let answer = attempt(until: Deadline(seconds: seconds)) { output in
      for path in paths {
        guard let bytes = contents(of: path) else { return errno }
        let error = copy(bytes + [0], to: output)
        if error != 0 { return error }
      }
      return 0
    }
    guard let answer else { throw TopTrouble(message: silence(seconds)) }
    switch answer.error {
    case 0:
      let texts = answer.output.split(separator: 0, omittingEmptySubsequences: false)
      if texts.count == files.count + 1 {
        return texts.dropLast().map { String(decoding: $0, as: UTF8.self) }
      }
      throw TopTrouble(message: "\(name): the control files could not be read")
    case ENOENT: throw TopTrouble(message: "\(name): no extractfs is mounted there any more")
    case ENOTCONN:
      throw TopTrouble(
        message:
          "\(name): the daemon has died; `extractfs umount \(mountpoint.quoted)` removes the mount")
    case let error: throw TopTrouble(message: "\(name): \(describe(error))")
    }
  }
}
