// The lock of this program: a value, and who may touch it.

import Synchronization

#if EXTRACTFS_SANITIZE_THREAD
  import Glibc

  /// A value behind a lock that ThreadSanitizer understands. It does not see `Mutex`, whose code is in the standard
  /// library and not instrumented, and would report every access under it; `mount-scripts/sanitize` builds with this.
  @safe public final class Guarded<Value>: @unchecked Sendable {
    // Guard of the unchecked Sendable: the value is reached under the lock only.
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    /// Guards a value.
    public init(_ value: sending Value) {
      self.value = value
      unsafe lock = .allocate(capacity: 1)
      unsafe lock.initialize(to: pthread_mutex_t())
      unsafe pthread_mutex_init(lock, nil)
    }

    deinit {
      unsafe pthread_mutex_destroy(lock)
      unsafe lock.deallocate()
    }

    /// Runs `body` with the value, alone.
    public func withLock<Result>(
      _ body: (inout Value) -> sending Result
    ) -> sending Result {
      unsafe pthread_mutex_lock(lock)
      defer { unsafe pthread_mutex_unlock(lock) }
      return body(&value)
    }
  }
#else
  /// A value behind a lock.
  public typealias Guarded<Value: ~Copyable> = Mutex<Value>
#endif
