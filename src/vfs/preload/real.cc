#include "vfs/preload/real.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

namespace helium::vfs::real {

#define X(name) decltype(&::name) name##_ptr = nullptr;
HELIUM_REAL_FUNCTIONS(X)
#undef X

namespace {
void* look_up(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) {
    dprintf(2, "libhelium_vfs: libc lacks %s\n", name);
    abort();
  }
  return found;
}
}  // namespace

void look_up_all() {
#define X(name) name##_ptr = reinterpret_cast<decltype(name##_ptr)>(look_up(#name));
  HELIUM_REAL_FUNCTIONS(X)
#undef X
}

}  // namespace helium::vfs::real
