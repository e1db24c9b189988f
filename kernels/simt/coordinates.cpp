// The variables behind threadIdx and so on. Everybody else sees them declared const, as the toolkit declares them, so
// this file must not include core.h: const objects would lie in memory that cannot be written.
#include <vector_types.h>

uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

namespace graft::simt {

struct Coordinates {
  uint3 *thread, *block;
  dim3 *block_dims, *grid_dims;
};
extern const Coordinates coordinates;
const Coordinates coordinates{&threadIdx, &blockIdx, &blockDim, &gridDim};

}  // namespace graft::simt
