// A server of one page, by libevent's evhttp: one thread, no TLS, and nothing to build.

import CEvent
import Glibc
import Volumes

/// Answers GET and HEAD of /metrics with a text made for each request.
///
/// One request is answered after the other; headers, bodies and idle connections are bounded.
@safe final class MetricsServer {
  /// What a request is told.
  enum Answer {
    case text(String)
    /// 503: it may be there later.
    case unavailable(String)
  }

  private let base: OpaquePointer?
  private let http: OpaquePointer?
  private let answer: () -> Answer

  /// Makes a server that listens nowhere yet.
  init(_ answer: @escaping () -> Answer) {
    self.answer = answer
    unsafe base = event_base_new()
    unsafe http = evhttp_new(base)
    unsafe evhttp_set_allowed_methods(
      http, UInt16(EVHTTP_REQ_GET.rawValue | EVHTTP_REQ_HEAD.rawValue))
    unsafe evhttp_set_max_headers_size(http, 8192)
    unsafe evhttp_set_max_body_size(http, 0)
    unsafe evhttp_set_timeout(http, 10)
    unsafe evhttp_set_gencb(
      http,
      { request, context in
        guard let context = unsafe context else { return }
        unsafe Unmanaged<MetricsServer>.fromOpaque(context).takeUnretainedValue().serve(request)
      }, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit {
    if unsafe http != nil { unsafe evhttp_free(http) }
    if unsafe base != nil { unsafe event_base_free(base) }
  }

  /// Takes an address.
  /// - Returns: the port, or nil with errno set.
  func bind(_ address: ListenAddress) -> UInt16? {
    let socket = unsafe evhttp_bind_socket_with_handle(http, address.host, address.port)
    guard let socket = unsafe socket else { return nil }
    var name = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let error = unsafe withUnsafeMutablePointer(to: &name) { name in
      unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(evhttp_bound_socket_get_fd(socket), $0, &length)
      }
    }
    if error != 0 { return nil }
    // Both families have the port in the same place, in network order.
    return unsafe withUnsafeBytes(of: name) { bytes in
      unsafe UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    }
  }

  /// Serves until the process is ended.
  func run() { unsafe event_base_dispatch(base) }

  private func serve(_ request: OpaquePointer?) {
    guard let uri = unsafe evhttp_request_get_uri(request) else { return }
    let path = unsafe String(cString: uri).prefix { $0 != "?" }
    switch path {
    case "/metrics":
      switch answer() {
      case .text(let text):
        unsafe reply(request, 200, "OK", text, type: OpenMetricsText.contentType)
      case .unavailable(let text): unsafe reply(request, 503, "Service Unavailable", text)
      }
    case "/": unsafe reply(request, 200, "OK", "extractfs: the figures are at /metrics\n")
    default: unsafe reply(request, 404, "Not Found", "there is only /metrics\n")
    }
  }

  private func reply(
    _ request: OpaquePointer?, _ code: Int32, _ reason: String, _ text: String,
    type: String = "text/plain; charset=utf-8"
  ) {
    unsafe evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type)
    let bytes = Array(text.utf8)
    let buffer = unsafe evhttp_request_get_output_buffer(request)
    _ = unsafe bytes.withUnsafeBytes { unsafe evbuffer_add(buffer, $0.baseAddress, $0.count) }
    unsafe evhttp_send_reply(request, code, reason, nil)
  }
}
