// SPDX-License-Identifier: BSD-3-Clause
#include "library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

/* Finds a function by its name, or by the one it had in 2011. */
static void *find(void *library, const char *name, const char *old_name)
{
    void *found = dlsym(library, name);
    return found || !old_name ? found : dlsym(library, old_name);
}

int library_load(const char *path, struct ob_backdoor_ops *ret_ops, struct ob_fault *fault)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return ob_fault_set(fault, -ENOENT, "can't load the library: %s", dlerror());
    struct ob_backdoor_ops ops = {0};
    *(void **)&ops.init = find(library, "backdoor_init", "qemu_backdoor_init");
    *(void **)&ops.call = find(library, "backdoor", "qemu_backdoor");
    *(void **)&ops.fini = find(library, "backdoor_fini", NULL);
    *(void **)&ops.cut = find(library, "backdoor_cut", NULL);
    *(void **)&ops.state = find(library, "backdoor_state", NULL);
    if (!ops.call) {
        dlclose(library);
        return ob_fault_set(fault, -ENOSYS,
                            "%s: found no function 'backdoor' or 'qemu_backdoor'; define it for "
                            "the guest's commands",
                            path);
    }
    *ret_ops = ops;
    return 0;
}
