// Copying a trained network's layers into another: all but the head.
#pragma once

#include <string>
#include <vector>

#include <graft/kernels/api/export.h>
#include <graft/layers/module.h>

namespace graft::transfer {

/// What a copy did, by dotted tensor name.
struct GRAFT_API CopyReport {
  std::vector<std::string> copied;
  std::vector<std::string> skipped;     // below a head: left out on purpose
  std::vector<std::string> missing;     // in the target's backbone, not in the source
  std::vector<std::string> unexpected;  // in the source's backbone, not in the target
  struct Mismatch {
    std::string name;
    Shape source_shape, target_shape;
  };
  std::vector<Mismatch> mismatched;  // same name, other shape: not copied

  bool complete() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
  /// "copied 17 tensors (388,800 parameters), skipped the head 'fc' (2)", and a line for each problem.
  std::string summary() const;
  std::int64_t parameters = 0;  // elements of the copied parameters
};

enum class CopyStrictness : std::uint8_t {
  strict,   // anything missing, unexpected or mismatched is an error, and nothing is changed
  partial,  // copies what fits and reports the rest
};

/// Copies every parameter and buffer by name, but those of the two modules' heads. Throws Error when a module names no
/// head, when source and target are one module, or (strict) with the report.
GRAFT_API CopyReport copy_backbone(const Module& source, Module& target,
                                   CopyStrictness strictness = CopyStrictness::strict);

/// The same from a state dict (a safetensors file of another network), whose head has the target's head's name unless
/// told.
GRAFT_API CopyReport copy_backbone(const NamedTensors& source, Module& target, const std::string& source_head = {},
                                   CopyStrictness strictness = CopyStrictness::strict);

/// Whether a tensor belongs to the layer: "fc.weight" to "fc", not to "f".
GRAFT_API bool belongs_to(const std::string& tensor_name, const std::string& layer_name);

}  // namespace graft::transfer
