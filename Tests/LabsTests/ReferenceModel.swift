// A model of processes that is obviously right: memory is values, fork() copies them, and hardware holds the cell.

import Memory
import TestSupport

/// The two halves of a page, each one word.
final class Cell {
  var words: (UInt64, UInt64) = (0, 0)

  init(_ words: (UInt64, UInt64) = (0, 0)) { self.words = words }

  subscript(half: Int) -> UInt64 {
    get { half == 0 ? words.0 : words.1 }
    set { if half == 0 { words.0 = newValue } else { words.1 = newValue } }
  }
}

/// What a virtual page is, without any page behind it.
enum ReferencePage {
  case unmapped
  /// Zeroes until written.
  case untouched
  /// The process's own.
  case own(Cell)
  /// The file's, shared by all.
  case file
}

/// Processes as arrays of values. There is nothing here to get wrong: no sharing, no counts, no faults.
struct ReferenceModel {
  static let pageCount = 4
  /// The last page is of the file.
  static let filePage = 3

  var processes: [Int: [ReferencePage]] = [:]
  let file: Cell
  /// Memory that was never written, for those who read it.
  let zeroes = Cell()

  init(file: Cell) { self.file = file }

  /// fork(): a deep copy, but for the file.
  mutating func fork(_ parent: Int, to child: Int) {
    processes[child] = processes[parent]?.map { page in
      if case .own(let cell) = page { return .own(Cell(cell.words)) }
      return page
    }
  }

  /// The cell that a reader sees.
  func cell(_ process: Int, _ page: Int) -> Cell? {
    switch processes[process]?[page] {
    case nil, .unmapped: nil
    case .untouched: zeroes
    case .own(let cell): cell
    case .file: file
    }
  }

  /// The cell that a writer changes: from here on the process has one of its own.
  mutating func writableCell(_ process: Int, _ page: Int) -> Cell? {
    if case .untouched = processes[process]?[page] {
      processes[process]?[page] = .own(Cell())
    }
    return cell(process, page)
  }

  /// How many pages from one on are mapped.
  func mappedPages(_ process: Int, from page: Int, atMost count: Int) -> Int {
    var found = 0
    while found < count, page + found < Self.pageCount, cell(process, page + found) != nil {
      found += 1
    }
    return found
  }
}
