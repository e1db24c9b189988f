// ^C asks the run to end after the step in progress; a second ^C ends the program at once.
#pragma once

namespace graft::demo {

void catch_interrupts();
bool interrupted();

}  // namespace graft::demo
