// Reading and writing the files of the control directory.

import DirectIO
import Glibc
import Memory
import Volumes

extension Worker {
  /// Serves a READ from a node's text at once, and hands a WRITE to the control queue, which may answer later.
  func serveControl(
    _ request: DataRequest, slot: Slot, payload: String, by route: AnswerRoute
  ) {
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
    if request.fileHandle != 0 && !request.isWrite {
      return serveStream(request, slot: slot, by: route)
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

  /// Keeps a READ of a stream until there is something. By a ring it keeps its entry, of which some must stay free:
  /// where too many wait, the reader is told to try again.
  private func serveStream(_ request: DataRequest, slot: Slot, by route: AnswerRoute) {
    let isHeld = server.ringEntries?.hold(slot) ?? true
    if isHeld && server.streams.read(request, by: route) { return }
    if isHeld { server.ringEntries?.letGo(slot) }
    server.send(
      error: server.isStopping ? .badDescriptor : .wouldBlock, to: request.unique, by: route)
  }
}
