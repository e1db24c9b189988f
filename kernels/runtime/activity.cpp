#include <graft/kernels/runtime/activity.h>

#include <graft/kernels/runtime/activity_counters.h>

namespace graft::runtime {

ActivityCounters& activity_counters() {
  static ActivityCounters counters;
  return counters;
}

DeviceActivity device_activity() {
  const ActivityCounters& c = activity_counters();
  return {c.launches.load(), c.graph_launches.load(), c.copies.load(), c.waits.load(), c.allocations.load()};
}

}  // namespace graft::runtime
