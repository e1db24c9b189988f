// Streams, events and graphs of a CUDA device. No CUDA header.
#pragma once

#include <cstdint>
#include <memory>

#include <graft/kernels/api/device.h>
#include <graft/kernels/api/export.h>

namespace graft::runtime {

/// The stream that the calling thread's work for this device goes to: the device's default stream, or what a
/// StreamScope says. Throws Error where the device cannot be used.
GRAFT_API Stream& current_stream(int device);

/// A stream of one's own: non-blocking, its work unordered with that of other streams unless events say otherwise.
class GRAFT_API OwnedStream {
 public:
  explicit OwnedStream(int device = 0);
  /// Waits for its work. Memory that was allocated on it goes over to the device's default stream.
  ~OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;

  const Stream& get() const { return stream_; }
  operator const Stream&() const { return stream_; }
  /// Throws Error where a kernel failed or reported a fault of its data.
  void synchronize() const;
  /// Whether all work given to it so far is done.
  bool is_done() const;

 private:
  Stream stream_;
};

/// While it lives, the calling thread's work for the stream's device goes to this stream.
class GRAFT_API StreamScope {
 public:
  explicit StreamScope(const Stream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Stream previous_;
};

/// A point in a stream's work.
class GRAFT_API Event {
 public:
  /// `timed`: for elapsed_ms; costs a little more.
  explicit Event(int device = 0, bool timed = false);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// The point after all work given to the stream so far.
  void record(const Stream& stream);
  /// Later work of `stream` starts when the point is reached; the host does not wait. Throws Error where the stream is
  /// being captured and the event was recorded before.
  void wait(const Stream& stream) const;
  /// Whether it is reached; true when it was never recorded.
  bool is_done() const;
  /// The host waits until it is reached.
  void synchronize() const;
  /// Milliseconds of the device between `begin` and this event. Throws Error unless both are timed and reached.
  float elapsed_ms(const Event& begin) const;

 private:
  int device_;
  bool timed_;
  bool recorded_ = false;
  std::uint64_t capture_ = 0;  // in which it was recorded
  void* event_ = nullptr;
};

/// A piece of work that was captured once and is launched again as a whole. It owns the memory that was allocated while
/// it was captured: results keep their place, and nobody else gets it while the graph lives.
class GRAFT_API Graph {
 public:
  Graph();
  ~Graph();  // waits for its last launch
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  bool defined() const;
  /// Runs the work on the stream. Throws Error when nothing was captured, or the stream is being captured.
  void launch(const Stream& stream);
  /// Kernels, copies and the like in it.
  std::int64_t node_count() const;

 private:
  friend class GraphCapture;
  struct GRAFT_LOCAL Impl;
  std::unique_ptr<Impl> impl_;
};

/// Captures what is given to `stream` while it lives into a graph: nothing runs. The stream becomes the calling
/// thread's current one. It must be one that no other thread gives work to, an OwnedStream: that would be captured too.
///
///   Graph graph;
///   { GraphCapture capture(graph, stream);  step();  capture.finish(); }
///   graph.launch(stream);
///
/// While it lives, waiting for the stream (item(), synchronize) throws Error, and so do copies between the device and
/// host memory that is not pinned; so does waiting for any other stream or event by this thread. Memory freed meanwhile serves the capture again.
class GRAFT_API GraphCapture {
 public:
  /// Throws Error when the stream is the CPU's, or another capture is under way on its device.
  GraphCapture(Graph& graph, const Stream& stream);
  /// Ends the capture and drops what was captured unless finish() was called.
  ~GraphCapture();
  GraphCapture(const GraphCapture&) = delete;
  GraphCapture& operator=(const GraphCapture&) = delete;

  /// Ends the capture and makes the graph ready for launches. Throws Error where something was captured that must not
  /// be (work on a stream that was not joined again, a call that waits).
  void finish();

 private:
  void forget();

  Graph& graph_;
  Stream stream_;
  StreamScope scope_;
  std::uint64_t pool_ = 0, number_ = 0;
  bool under_way_ = true;
};

/// Whether the stream's work is being captured.
GRAFT_API bool is_capturing(const Stream& stream);

}  // namespace graft::runtime
