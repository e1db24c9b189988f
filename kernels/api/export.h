// GRAFT_API: what a shared library graft exports. Everything else is hidden there (GRAFT_EXPORT_INTERNALS).
//
// The attribute stands on every function and class that an installed header declares, and on nothing else: a class
// needs it for its virtual table and type information too, by which dynamic_cast and catch work across libraries, and a
// structure because a class that is exported may have no member that is not. In a static library it changes nothing.
#pragma once

#if defined(__GNUC__)
#define GRAFT_API [[gnu::visibility("default")]]
#define GRAFT_LOCAL [[gnu::visibility("hidden")]]  // of a class within an exported one
#else
#define GRAFT_API
#define GRAFT_LOCAL
#endif
