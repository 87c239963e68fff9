// Reading and writing the files of the control directory.

import DirectIO
import Glibc
import Memory
import Volumes

extension Worker {
  /// Serves a READ from a node's text at once, and hands a WRITE to the control queue, which may answer later.
  func serveControl(_ request: DataRequest, payload: String, by route: AnswerRoute) {
    let server = server
    if request.isWrite {
      server.controlQueue.async {
        do throws(Errno) {
          guard let accept = try server.control.file(request.inode).accept else {
            throw .accessDenied
          }
          accept(payload) { error in
            // Who wrote reads the reply by the same open file.
            server.control.refresh(request.inode)
            server.send(error: error, written: request.length, to: request.unique, by: route)
          }
        } catch {
          server.send(error: error, to: request.unique, by: route)
        }
      }
      return
    }
    do throws(Errno) {
      let text = try server.control.text(request.inode)
      let start = min(request.offset, text.count)
      server.send(
        bytes: text[start..<min(start + request.length, text.count)], to: request.unique, by: route)
    } catch {
      server.send(error: error, to: request.unique, by: route)
    }
  }
}
