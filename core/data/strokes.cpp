#include <graft/core/data/strokes.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <graft/kernels/runtime/parallel.h>

// The order of the random draws is part of what an image is: every draw stands in a statement of its own, because C++
// leaves the order inside an expression to the compiler.

namespace graft::data {
namespace {

constexpr int kSide = static_cast<int>(kStrokesSide);
constexpr int kMaxStrokes = 4;
constexpr int kMaxSegments = 5;
constexpr int kPointsPerSegment = 10;
constexpr int kMaxPoints = kMaxStrokes * (kMaxSegments * kPointsPerSegment + 1);

constexpr float kTwoPi = 6.2831853f;
constexpr float kMaxPhase = 6.28f;                         // of the elastic waves and the pen's pressure
constexpr float kTiny = 1e-3f;                             // stands in for the size of a degenerate drawing
constexpr float kFar = 1e9f;                               // further out than any point
constexpr std::uint64_t kSampleStream = 0xABCDEF12345ull;  // keeps sample streams apart from class streams

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
class Random {
 public:
  explicit Random(std::uint64_t state) : state_(state) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  /// Uniform on [0, 1).
  float uniform() { return static_cast<float>(next() >> 40) * (1.0f / 16777216.0f); }
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  /// 0 .. n - 1.
  int below(int n) { return static_cast<int>(uniform() * static_cast<float>(n)); }
  bool chance(float probability) { return uniform() < probability; }
  float sign() { return chance(.5f) ? -1.0f : 1.0f; }
  /// Normal, by Box and Muller, clipped at 2.5 deviations: no drawing is torn apart by one wild draw.
  float clipped_normal(float deviation) {
    const float radius_draw = uniform() + 1e-7f;
    const float angle_draw = uniform();
    const float x = std::sqrt(-2 * std::log(radius_draw)) * std::cos(kTwoPi * angle_draw);
    return deviation * std::max(-2.5f, std::min(2.5f, x));
  }

 private:
  std::uint64_t state_;
};

/// A stream's state from two numbers.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  Random r(a * 0xD1342543DE82EF95ull + b);
  r.next();
  return r.next() ^ (b * 0x9E3779B97F4A7C15ull);
}

struct Point {
  float x, y;
};

Point between(Point a, Point b, float t) { return {a.x + t * (b.x - a.x), a.y + t * (b.y - a.y)}; }

/// A piece of a stroke: the pen turns by `corner` on the spot, then goes `length` while turning by `turn`.
struct Segment {
  float length, turn, corner;
};

/// The point at share `at_self` of this stroke lies at share `at_anchor` of stroke `anchor`, moved by `offset`.
struct Joint {
  int anchor = -1;  // an earlier stroke; -1 for the first stroke, which stands free
  float at_anchor = 0, at_self = 0;
  Point offset = {0, 0};
};

struct Stroke {
  int segments = 0;
  float heading = 0;  // radians, at the start
  std::array<Segment, kMaxSegments> segment{};
  Joint joint;
};

struct Glyph {
  int strokes = 0;
  std::array<Stroke, kMaxStrokes> stroke;
};

/// A glyph as polylines: stroke k is points first[k] .. first[k + 1] - 1.
struct Path {
  int strokes = 0;
  std::array<int, kMaxStrokes + 1> first{};
  std::array<Point, kMaxPoints> point;

  int size() const { return first[static_cast<std::size_t>(strokes)]; }
  int begin(int stroke) const { return first[static_cast<std::size_t>(stroke)]; }
  int end(int stroke) const { return first[static_cast<std::size_t>(stroke) + 1]; }
  Point& operator[](int i) { return point[static_cast<std::size_t>(i)]; }
  Point operator[](int i) const { return point[static_cast<std::size_t>(i)]; }
};

struct Box {
  float x0 = kFar, x1 = -kFar, y0 = kFar, y1 = -kFar;

  void add(Point p) {
    x0 = std::min(x0, p.x);
    x1 = std::max(x1, p.x);
    y0 = std::min(y0, p.y);
    y1 = std::max(y1, p.y);
  }
  float long_side() const { return std::max(x1 - x0, y1 - y0); }
  float short_side() const { return std::min(x1 - x0, y1 - y0); }
};

// --- what a class is
// ----------------------------------------------------------------------------------------------------

int draw_stroke_count(Random& r) {
  const float q = r.uniform();
  return q < .40f ? 1 : q < .75f ? 2 : q < .95f ? 3 : 4;
}

/// The fewer strokes, the more segments each.
int draw_segment_count(Random& r, int strokes) {
  if (strokes == 1) return 2 + r.below(4);
  return 1 + r.below(strokes == 2 ? 3 : 2);
}

/// `bend` is the side to which arcs turn; it mostly stays from one segment to the next.
Segment draw_segment(Random& r, bool first, float& bend) {
  Segment segment{};
  if (r.uniform() > .65f) bend = -bend;
  const float kind = r.uniform();
  if (kind < .30f) {  // straight
    segment.turn = r.clipped_normal(.12f);
    segment.length = r.uniform(.5f, 1.3f);
  } else if (kind < .85f) {  // arc
    segment.turn = bend * r.uniform(.5f, 3.4f);
    segment.length = r.uniform(.6f, 1.5f);
  } else {  // loop
    segment.turn = bend * r.uniform(3.4f, 5.8f);
    segment.length = r.uniform(1.2f, 2.4f);
  }
  if (!first && r.chance(.40f)) {
    const float side = r.sign();
    segment.corner = side * r.uniform(.9f, 2.7f);
  }
  return segment;
}

Joint draw_joint(Random& r, int stroke) {
  Joint joint;
  joint.anchor = r.below(stroke);
  const float kind = r.uniform();
  joint.at_anchor = r.uniform();
  if (kind < .45f) {  // its start touches the other, often at an end
    if (r.chance(.4f)) joint.at_anchor = r.chance(.5f) ? 0.0f : 1.0f;
    joint.at_self = 0;
  } else if (kind < .75f) {  // they cross
    joint.at_anchor = r.uniform(.15f, .85f);
    joint.at_self = r.uniform(.2f, .8f);
  } else {  // it stands apart
    joint.at_self = r.uniform();
    const float angle = r.uniform(0, kTwoPi);
    const float distance = r.uniform(.3f, .8f);
    joint.offset = {distance * std::cos(angle), distance * std::sin(angle)};
  }
  return joint;
}

Glyph draw_glyph(Random& r) {
  Glyph glyph;
  glyph.strokes = draw_stroke_count(r);
  for (int k = 0; k < glyph.strokes; ++k) {
    Stroke& stroke = glyph.stroke[static_cast<std::size_t>(k)];
    stroke.segments = draw_segment_count(r, glyph.strokes);
    stroke.heading = r.uniform(0, kTwoPi);
    float bend = r.sign();
    for (int i = 0; i < stroke.segments; ++i)
      stroke.segment[static_cast<std::size_t>(i)] = draw_segment(r, i == 0, bend);
    if (k > 0) stroke.joint = draw_joint(r, k);
  }
  return glyph;
}

// --- from a glyph to points
// ---------------------------------------------------------------------------------------------

/// The point at `share` of stroke k's points.
Point point_at(const Path& path, int k, float share) {
  const int steps = path.end(k) - path.begin(k) - 1;
  const float position = share * static_cast<float>(steps);
  const int i = std::min(steps - 1, static_cast<int>(position));
  const int at = path.begin(k) + i;
  return between(path[at], path[at + 1], position - static_cast<float>(i));
}

/// Walks along one stroke from (0, 0) with an unsteady hand; writes its points from `at` on and returns where they end.
int trace_stroke(Random& r, const Stroke& stroke, float wobble_deviation, Path& path, int at) {
  const float wobble = r.clipped_normal(wobble_deviation);
  const float frequency = r.uniform(.5f, 1.5f);
  const float phase = r.uniform(0, kTwoPi);
  const int steps = stroke.segments * kPointsPerSegment;
  Point p = {0, 0};
  float heading = stroke.heading;
  int step = 0;
  path[at++] = p;
  for (int i = 0; i < stroke.segments; ++i) {
    const Segment& segment = stroke.segment[static_cast<std::size_t>(i)];
    heading += segment.corner;
    const float length = segment.length / kPointsPerSegment, turn = segment.turn / kPointsPerSegment;
    for (int q = 0; q < kPointsPerSegment; ++q) {
      heading += turn * .5f;
      const float direction =
          heading +
          wobble * std::sin(kTwoPi * frequency * static_cast<float>(step) / static_cast<float>(steps) + phase);
      p.x += length * std::cos(direction);
      p.y += length * std::sin(direction);
      heading += turn * .5f;
      ++step;
      path[at++] = p;
    }
  }
  return at;
}

void trace(Random& r, const Glyph& glyph, float wobble_deviation, Path& path) {
  path.strokes = glyph.strokes;
  int n = 0;
  for (int k = 0; k < glyph.strokes; ++k) {
    const Stroke& stroke = glyph.stroke[static_cast<std::size_t>(k)];
    path.first[static_cast<std::size_t>(k)] = n;
    n = trace_stroke(r, stroke, wobble_deviation, path, n);
    path.first[static_cast<std::size_t>(k) + 1] = n;
    if (k == 0) continue;
    const Joint& joint = stroke.joint;
    const Point anchor = point_at(path, joint.anchor, joint.at_anchor);
    const Point self = point_at(path, k, joint.at_self);
    const float dx = anchor.x + joint.offset.x - self.x, dy = anchor.y + joint.offset.y - self.y;
    for (int i = path.begin(k); i < n; ++i) path[i] = {path[i].x + dx, path[i].y + dy};
  }
}

/// What the lengths of a path's pieces say about it.
struct Ink {
  float length = 0;
  Point centre = {0, 0};  // of the ink, had the pen no width
};

Ink measure_ink(const Path& path) {
  Ink ink;
  for (int k = 0; k < path.strokes; ++k)
    for (int i = path.begin(k) + 1; i < path.end(k); ++i) {
      const Point a = path[i - 1], b = path[i];
      const float length = std::hypot(b.x - a.x, b.y - a.y);
      ink.length += length;
      ink.centre.x += length * .5f * (b.x + a.x);
      ink.centre.y += length * .5f * (b.y + a.y);
    }
  ink.centre.x /= ink.length;
  ink.centre.y /= ink.length;
  return ink;
}

/// Neither a blot nor a dot, and not a bare line.
bool is_writable(const Glyph& glyph) {
  Path path;
  Random steady(1);  // without wobble its draws change nothing
  trace(steady, glyph, 0, path);
  Box box;
  for (int i = 0; i < path.size(); ++i) box.add(path[i]);
  const float length = measure_ink(path).length / box.long_side();
  if (length < 1.25f || length > 4.0f) return false;
  return glyph.strokes > 1 || box.short_side() / box.long_side() >= .12f;
}

Glyph class_prototype(std::uint64_t seed, std::int64_t stroke_class) {
  const std::uint64_t key = mix(seed, static_cast<std::uint64_t>(stroke_class));
  for (std::uint64_t attempt = 0;; ++attempt) {
    Random r(mix(key, attempt));
    const Glyph glyph = draw_glyph(r);
    if (is_writable(glyph)) return glyph;
  }
}

// --- what a sample is
// ---------------------------------------------------------------------------------------------------

constexpr float kHandWobble = .10f;

float clamp_share(float share) { return std::min(1.0f, std::max(0.0f, share)); }

/// Nobody draws a shape twice the same.
void jitter(Random& r, Glyph& glyph) {
  for (int k = 0; k < glyph.strokes; ++k) {
    Stroke& stroke = glyph.stroke[static_cast<std::size_t>(k)];
    stroke.heading += r.clipped_normal(.12f);
    for (int i = 0; i < stroke.segments; ++i) {
      Segment& segment = stroke.segment[static_cast<std::size_t>(i)];
      segment.length *= std::exp(r.clipped_normal(.18f));
      segment.turn *= std::exp(r.clipped_normal(.14f));
      segment.turn += r.clipped_normal(.14f);
      segment.corner += r.clipped_normal(segment.corner != 0 ? .18f : .04f);
    }
    if (k == 0) continue;
    Joint& joint = stroke.joint;
    joint.at_anchor = clamp_share(joint.at_anchor + r.clipped_normal(.05f));
    joint.at_self = clamp_share(joint.at_self + r.clipped_normal(.05f));
    joint.offset.x += r.clipped_normal(.07f);
    joint.offset.y += r.clipped_normal(.07f);
  }
}

/// Slant, turn and proportions of the handwriting; returns the box around the result.
Box slant(Random& r, Path& path) {
  const float rotation = r.clipped_normal(.13f);
  const float shear = r.clipped_normal(.20f);
  const float aspect = std::exp(r.clipped_normal(.12f));
  const float c = std::cos(rotation), s = std::sin(rotation);
  Box box;
  for (int i = 0; i < path.size(); ++i) {
    const float y = path[i].y / aspect;
    const float x = path[i].x * aspect + shear * y;
    path[i] = {c * x - s * y, s * x + c * y};
    box.add(path[i]);
  }
  return box;
}

struct Pen {
  float radius, soft;  // pixels; the edge fades out over `soft`
};

/// `density` is the length of ink over the size of the drawing: dense drawings need a thinner pen to stay legible.
Pen draw_pen(Random& r, float density) {
  const float wanted = 1.25f * std::exp(r.clipped_normal(.25f));
  const float soft = r.uniform(1.0f, 1.7f);
  const float radius = std::min(2.1f, std::max(.65f, wanted));
  return {std::min(radius, std::max(.9f, 6.0f / density)), soft};
}

/// Scales to MNIST's 20 pixels with the centre of the ink near the middle of the picture, and bends the whole a little
/// by three waves in each direction.
void place(Random& r, Path& path, float size, const Ink& ink, float pen_radius) {
  const float pixels = (20.0f - 2 * pen_radius) * r.uniform(.95f, 1.03f);
  const float scale = pixels / size;
  const float middle_x = 13.5f + r.clipped_normal(.5f);
  const float middle_y = 13.5f + r.clipped_normal(.5f);

  struct Wave {
    float amplitude, per_x, per_y, phase;
  };
  std::array<Wave, 6> waves;  // three that move x, three that move y
  for (Wave& wave : waves) {
    wave.amplitude = r.clipped_normal(.35f);
    wave.per_x = r.uniform(-.25f, .25f);
    wave.per_y = r.uniform(-.25f, .25f);
  }
  for (Wave& wave : waves) wave.phase = r.uniform(0, kMaxPhase);

  for (int i = 0; i < path.size(); ++i) {
    const float x = (path[i].x - ink.centre.x) * scale + middle_x;
    const float y = (path[i].y - ink.centre.y) * scale + middle_y;
    std::array<float, 6> move;
    for (std::size_t w = 0; w < waves.size(); ++w)
      move[w] = waves[w].amplitude * std::sin(waves[w].per_x * x + waves[w].per_y * y + waves[w].phase);
    path[i] = {x + (move[0] + move[1] + move[2]), y + (move[3] + move[4] + move[5])};
  }
}

// --- from points to pixels
// ----------------------------------------------------------------------------------------------

constexpr int kLanes = 4;             // one SSE register of floats
constexpr int kRow = kSide + kLanes;  // room for the last group of a row
constexpr float kNoInk = -9.0f;

/// How deep each pixel lies inside the pen's mark: radius minus distance, in pixels.
using Depth = std::array<float, kSide * kRow>;

/// The first whole number at or above v, and one at or above the last below it, limited to the picture.
int first_pixel(float v) {
  const int whole = static_cast<int>(v);
  return std::max(0, whole + (static_cast<float>(whole) < v ? 1 : 0));
}
int last_pixel(float v) { return std::min(kSide - 1, static_cast<int>(v)); }

/// Marks the piece from a to b. Whatever lies further than `radius + reach` from it may be left out or not: its depth
/// is under -reach, which fade() turns into black. So columns are done in whole groups.
void mark_piece(Point a, Point b, float radius, float reach, Depth& depth) {
  const float far = radius + reach;
  const float vx = b.x - a.x, vy = b.y - a.y;
  const float inverse = 1.0f / (vx * vx + vy * vy + 1e-9f);
  const int x0 = first_pixel(std::min(a.x, b.x) - far), x1 = last_pixel(std::max(a.x, b.x) + far);
  const int y0 = first_pixel(std::min(a.y, b.y) - far), y1 = last_pixel(std::max(a.y, b.y) + far);
  if (x1 < x0) return;
  const int columns = ((x1 - x0) / kLanes + 1) * kLanes;
  for (int y = y0; y <= y1; ++y) {
    const float wy = static_cast<float>(y) - a.y;
    float* row = depth.data() + y * kRow + x0;
    for (int i = 0; i < columns; ++i) {
      const float wx = static_cast<float>(x0 + i) - a.x;
      float t = (wx * vx + wy * vy) * inverse;
      t = t > 0.0f ? t : 0.0f;
      t = t < 1.0f ? t : 1.0f;
      const float ex = wx - t * vx, ey = wy - t * vy;
      const float d = radius - std::sqrt(ex * ex + ey * ey);
      row[i] = row[i] > d ? row[i] : d;
    }
  }
}

void mark(Random& r, const Path& path, const Pen& pen, Depth& depth) {
  depth.fill(kNoInk);
  for (int k = 0; k < path.strokes; ++k) {
    const float pressure = r.clipped_normal(.15f);
    const float frequency = r.uniform(.5f, 2.0f);
    const float phase = r.uniform(0, kMaxPhase);
    const int begin = path.begin(k), points = path.end(k) - begin;
    for (int i = 1; i < points; ++i) {
      const float wave = std::sin(kTwoPi * frequency * static_cast<float>(i) / static_cast<float>(points) + phase);
      mark_piece(path[begin + i - 1], path[begin + i], pen.radius * (1 + pressure * wave), .5f * pen.soft, depth);
    }
  }
}

/// A smooth step from black to white over `soft` pixels across the edge.
void fade(const Depth& depth, float soft, std::uint8_t* pixels) {
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      float v = depth[static_cast<std::size_t>(y * kRow + x)] / soft + .5f;
      v = v > 0.0f ? v : 0.0f;
      v = v < 1.0f ? v : 1.0f;
      v = v * v * (3 - 2 * v);
      pixels[y * kSide + x] = static_cast<std::uint8_t>(static_cast<int>(255 * v + .5f));
    }
}

void draw_sample(const Glyph& prototype, std::uint64_t seed, std::int64_t stroke_class, std::int64_t index,
                 std::uint8_t* pixels) {
  Random r(mix(mix(seed ^ kSampleStream, static_cast<std::uint64_t>(stroke_class)), static_cast<std::uint64_t>(index)));
  Glyph glyph = prototype;
  jitter(r, glyph);
  Path path;
  trace(r, glyph, kHandWobble, path);
  const Box box = slant(r, path);
  const float size = std::max(box.long_side(), kTiny);
  const Ink ink = measure_ink(path);
  const Pen pen = draw_pen(r, ink.length / size);
  place(r, path, size, ink, pen.radius);
  Depth depth;
  mark(r, path, pen, depth);
  fade(depth, pen.soft, pixels);
}

std::vector<Glyph> class_prototypes(std::uint64_t seed, std::int64_t classes) {
  std::vector<Glyph> prototypes(static_cast<std::size_t>(classes));
  parallel_for(classes, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) prototypes[static_cast<std::size_t>(c)] = class_prototype(seed, c);
  });
  return prototypes;
}

}  // namespace

void draw_stroke_glyph(std::uint64_t seed, std::int64_t stroke_class, std::int64_t index, std::uint8_t* pixels) {
  check(stroke_class >= 0 && index >= 0, "draw_stroke_glyph: class ", stroke_class, " and index ", index,
        " must not be negative");
  draw_sample(class_prototype(seed, stroke_class), seed, stroke_class, index, pixels);
}

Dataset make_strokes(const StrokesOptions& options, const std::function<void(std::int64_t)>& progress) {
  check(options.classes > 0, "make_strokes: classes is ", options.classes, ", expected 1 or more");
  check(options.images > 0, "make_strokes: images is ", options.images, ", expected 1 or more");
  check(options.first_index >= 0, "make_strokes: first_index is ", options.first_index, ", expected 0 or more");

  const std::vector<Glyph> prototypes = class_prototypes(options.seed, std::min(options.classes, options.images));
  Dataset dataset;
  dataset.classes = options.classes;
  dataset.images = Tensor::empty({options.images, 1, kStrokesSide, kStrokesSide}, DType::u8);
  dataset.labels = Tensor::empty({options.images}, DType::i64);
  std::uint8_t* images = dataset.images.data<std::uint8_t>();
  std::int64_t* labels = dataset.labels.data<std::int64_t>();

  constexpr std::int64_t kReportEvery = 8192, kGrain = 64, kPixels = kStrokesSide * kStrokesSide;
  for (std::int64_t done = 0; done < options.images;) {
    const std::int64_t start = done, count = std::min(kReportEvery, options.images - start);
    parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = start + begin; i < start + end; ++i) {
        const std::int64_t stroke_class = i % options.classes;
        labels[i] = stroke_class;
        draw_sample(prototypes[static_cast<std::size_t>(stroke_class)], options.seed, stroke_class,
                    options.first_index + i / options.classes, images + i * kPixels);
      }
    });
    done += count;
    if (progress) progress(done);
  }
  return dataset;
}

}  // namespace graft::data
