// What a libfuse callback needs to know of the thread it runs on: C hands it neither.

import DirectIO
import Glibc

/// The worker of the calling thread, and the way by which its present request is answered.
enum CurrentThread {
  private static let workerKey = makeKey()
  private static let routeWorkerKey = makeKey()
  private static let routeNumberKey = makeKey()

  private static func makeKey() -> pthread_key_t {
    var key = pthread_key_t()
    let result = unsafe pthread_key_create(&key, nil)
    precondition(result == 0, "no thread-local storage is left")
    return key
  }

  /// The worker that runs on this thread, if one does. The worker outlives its thread.
  static var worker: Worker? {
    get { pointed(by: workerKey) }
    set { set(workerKey, newValue) }
  }

  /// The way of answers.
  static var route: AnswerRoute {
    get {
      let number = unsafe Int(bitPattern: pthread_getspecific(routeNumberKey)) - 1
      if let worker = pointed(by: routeWorkerKey) {
        return AnswerRoute(slot: Slot(number), of: worker)
      }
      return AnswerRoute(descriptor: Int32(truncatingIfNeeded: number))
    }
    set {
      let number = Int(newValue.slot >= 0 ? newValue.slot : newValue.descriptor)
      unsafe set(routeWorkerKey, newValue.worker)
      unsafe pthread_setspecific(routeNumberKey, UnsafeRawPointer(bitPattern: number + 1))
    }
  }

  private static func pointed(by key: pthread_key_t) -> Worker? {
    guard let pointer = unsafe pthread_getspecific(key) else { return nil }
    return unsafe Unmanaged<Worker>.fromOpaque(pointer).takeUnretainedValue()
  }

  private static func set(_ key: pthread_key_t, _ worker: Worker?) {
    unsafe pthread_setspecific(
      key, worker.map { unsafe Unmanaged.passUnretained($0).toOpaque() })
  }
}
