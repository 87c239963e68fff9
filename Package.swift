// swift-tools-version: 6.2
import PackageDescription

/// Every target is held to the same rules: Swift 6 mode, strict memory safety, no warnings.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableExperimentalFeature("Lifetimes"),
]

/// Imports point one way, and this table is the truth: what stands lower is imported by what stands higher.
let package = Package(
  name: "extractfs",
  products: [.executable(name: "extractfs", targets: ["extractfs"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    .systemLibrary(name: "CFuse3", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(name: "CUring", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .systemLibrary(name: "CEvent", pkgConfig: "libevent", providers: [.apt(["libevent-dev"])]),
    .systemLibrary(name: "CSystem"),
    .systemLibrary(name: "CPassThrough"),
    .target(name: "Memory", swiftSettings: strict),
    .target(name: "Ring", dependencies: ["Memory", "CUring", "CSystem"], swiftSettings: strict),
    .target(name: "IOVector", dependencies: ["Memory"], swiftSettings: strict),
    .target(name: "Block", dependencies: ["IOVector", "Memory"], swiftSettings: strict),
    .target(
      name: "Devices", dependencies: ["Block", "Memory", "Ring", "CUring", "CSystem"],
      swiftSettings: strict
    ),
    .target(
      name: "DirectIO", dependencies: ["Block", "IOVector", "Memory"],
      swiftSettings: strict),
    .target(
      name: "Volumes",
      dependencies: [
        "DirectIO", "Block", "IOVector", "Memory", "CSystem",
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ], swiftSettings: strict),
    .target(
      name: "FUSEServer",
      dependencies: [
        "Volumes", "DirectIO", "Block", "IOVector", "Memory", "Ring", "CFuse3", "CUring", "CSystem",
        "CPassThrough",
      ],
      swiftSettings: strict),
    .target(
      name: "DirectCall", dependencies: ["IOVector", "Memory"], swiftSettings: strict),
    .target(name: "Trace", dependencies: ["Memory"], swiftSettings: strict),
    .target(name: "Reports", dependencies: ["Trace", "Memory"], swiftSettings: strict),
    .target(
      name: "Conformance", dependencies: ["DirectCall", "Block", "IOVector", "Memory"],
      swiftSettings: strict),
    .target(
      name: "Labs",
      dependencies: ["DirectCall", "DirectIO", "Devices", "Block", "IOVector", "Memory"],
      swiftSettings: strict),
    .target(name: "Top", swiftSettings: strict),
    .target(
      name: "CoreBench", dependencies: ["Block", "IOVector", "Memory"], swiftSettings: strict),
    .executableTarget(
      name: "extractfs",
      dependencies: [
        "CoreBench", "Labs", "Top", "Trace", "Reports", "FUSEServer", "Volumes", "Devices",
        "DirectIO",
        "DirectCall", "Conformance", "Block", "IOVector", "Memory", "CEvent", "CSystem",
        "CPassThrough",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ], swiftSettings: strict),
    .target(
      name: "TestSupport", dependencies: ["Memory", "CSystem"], path: "Tests/TestSupport",
      swiftSettings: strict),
    .testTarget(name: "TraceTests", dependencies: ["Trace", "Memory"], swiftSettings: strict),
    .testTarget(name: "MemoryTests", dependencies: ["Memory"], swiftSettings: strict),
    .testTarget(
      name: "IOVectorTests", dependencies: ["IOVector", "Memory"], swiftSettings: strict),
    .testTarget(
      name: "BlockTests", dependencies: ["Block", "IOVector", "Memory"], swiftSettings: strict),
    .testTarget(
      name: "DevicesTests",
      dependencies: ["Devices", "Block", "IOVector", "Memory", "Ring", "CSystem", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "ConformanceTests", dependencies: ["Conformance", "Memory"],
      resources: [.copy("Vectors")], swiftSettings: strict),
    .testTarget(
      name: "DirectCallTests", dependencies: ["DirectCall", "IOVector", "Memory"],
      swiftSettings: strict),
    .testTarget(
      name: "DirectIOTests",
      dependencies: ["DirectIO", "Devices", "Block", "IOVector", "Memory", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "RingTests", dependencies: ["Ring", "Memory", "CUring", "CSystem"],
      swiftSettings: strict),
    .testTarget(
      name: "VolumesTests",
      dependencies: ["Volumes", "Devices", "DirectIO", "Memory", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "FUSEServerTests",
      dependencies: ["FUSEServer", "DirectIO", "Memory", "CUring", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "LabsTests", dependencies: ["Labs", "Block", "IOVector", "Memory", "TestSupport"],
      swiftSettings: strict),
    .testTarget(name: "TopTests", dependencies: ["Top"], swiftSettings: strict),
    .testTarget(
      name: "SystemTests", dependencies: ["TestSupport", "extractfs"], swiftSettings: strict),
    .testTarget(
      name: "EndToEndTests", dependencies: ["TestSupport", "Memory", "CSystem", "extractfs"],
      swiftSettings: strict),
  ]
)
