// What a libfuse callback needs to know of the thread it runs on: C hands it neither.

import Glibc

/// The worker and the answering descriptor of the calling thread.
enum CurrentThread {
  private static let workerKey = makeKey()
  private static let descriptorKey = makeKey()

  private static func makeKey() -> pthread_key_t {
    var key = pthread_key_t()
    let result = unsafe pthread_key_create(&key, nil)
    precondition(result == 0, "no thread-local storage is left")
    return key
  }

  /// The worker that runs on this thread, if one does. The worker outlives its thread.
  static var worker: Worker? {
    get {
      guard let pointer = unsafe pthread_getspecific(workerKey) else { return nil }
      return unsafe Unmanaged<Worker>.fromOpaque(pointer).takeUnretainedValue()
    }
    set {
      unsafe pthread_setspecific(
        workerKey, newValue.map { unsafe Unmanaged.passUnretained($0).toOpaque() })
    }
  }

  /// The descriptor by which answers leave, or -1 for the session's own.
  static var descriptor: Int32 {
    get {
      guard let pointer = unsafe pthread_getspecific(descriptorKey) else { return -1 }
      return Int32(truncatingIfNeeded: Int(bitPattern: pointer) - 1)
    }
    set {
      unsafe pthread_setspecific(descriptorKey, UnsafeRawPointer(bitPattern: Int(newValue) + 1))
    }
  }
}
