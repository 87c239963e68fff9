// One event as one line of text, as `cat` of the control file `trace` shows it.

import Memory

/// Lines of events.
public enum EventLine {
  /// Adds the line of an event: time, worker, step, and what the step has, as `name=value`.
  public static func add(_ record: TraceRecord, to text: inout [UInt8]) {
    text.add(seconds: record.timeNanoseconds)
    text.add(" w")
    text.add(record.worker)
    text.append(UInt8(ascii: " "))
    text.add(TraceNames.step(record.step))
    switch record.step {
    case .start: addStart(record, to: &text)
    case .lost: field(" events=", record.length, &text)
    default:
      if record.request != 0 {
        text.add(" request=")
        text.add(record.request)
      }
      addDetails(record, to: &text)
    }
    text.append(UInt8(ascii: "\n"))
  }

  private static func field(_ name: StaticString, _ value: Int, _ text: inout [UInt8]) {
    text.add(name)
    text.add(value)
  }

  private static func addStart(_ record: TraceRecord, to text: inout [UInt8]) {
    text.add(" version=")
    text.add(record.inode)
    field(" image_bytes=", record.offset, &text)
    field(" block_bytes=", record.length, &text)
  }

  private static func addDetails(_ record: TraceRecord, to text: inout [UInt8]) {
    let step = record.step
    if record.inode != 0 {
      text.add(" inode=")
      text.add(record.inode)
    }
    if step.isOfBio {
      text.add(" op=")
      text.add(TraceNames.bio(record.operation))
      field(" bio=", record.bio, &text)
      field(" sector=", Int(record.sector), &text)
    } else if step == .arrive || step == .thaw || step == .reply {
      text.add(" op=")
      text.add(TraceNames.request(record.operation))
    }
    if step != .flush && step != .freeze {
      field(" offset=", record.offset, &text)
      field(" length=", record.length, &text)
    }
    if step == .extract || step == .release {
      text.add(" kind=")
      text.add(TraceNames.kind(record.kind))
      text.add(" mode=")
      text.add(TraceNames.mode(record.mode))
    }
    if record.pages > 0 { field(" pages=", record.pages, &text) }
    if step == .arrive || step == .thaw {
      field(" pid=", Int(record.thread), &text)
      field(" uid=", Int(record.user), &text)
    }
    if step.hasLatency {
      text.add(" us=")
      text.add(microseconds: record.latencyNanoseconds)
    }
    if record.error > 0 { field(" error=", record.error, &text) }
    addFlags(record.flags, to: &text)
  }

  static let flagNames: [(flag: TraceFlags, name: StaticString)] = [
    (.durable, "durable"), (.direct, "direct"), (.writeback, "writeback"), (.bounced, "bounced"),
    (.cached, "cached"), (.zeroes, "zeroes"), (.registered, "registered"),
  ]

  private static func addFlags(_ flags: TraceFlags, to text: inout [UInt8]) {
    if flags.rawValue == 0 { return }
    for (flag, name) in flagNames where flags.contains(flag) {
      text.append(UInt8(ascii: " "))
      text.add(name)
    }
  }
}
