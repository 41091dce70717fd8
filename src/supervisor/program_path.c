// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/program_path.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_program(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static bool is_beside(const char *name, char *path, size_t size)
{
    static const char *const places[] = {"", "../libexec/outboard/", "../libexec/"};
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int need = snprintf(path, size, "%s/%s%s", self, places[i], name);
        if (need > 0 && (size_t)need < size && is_program(path))
            return true;
    }
    return false;
}

static bool is_on_path(const char *name, char *path, size_t size)
{
    const char *folder = getenv("PATH");
    while (folder) {
        size_t len = strcspn(folder, ":");
        int need = snprintf(path, size, "%.*s/%s", (int)len, len ? folder : ".", name);
        if (need > 0 && (size_t)need < size && is_program(path))
            return true;
        folder = folder[len] ? folder + len + 1 : NULL;
    }
    return false;
}

int program_path_find(const char *name, char *path, size_t size)
{
    char full[NAME_MAX];
    if (strchr(name, '/'))
        return (size_t)snprintf(path, size, "%s", name) < size && is_program(path) ? 0 : -ENOENT;
    snprintf(full, sizeof(full), "outboard-%s", name);
    bool found = is_beside(full, path, size) || is_beside(name, path, size) ||
                 is_on_path(full, path, size) || is_on_path(name, path, size);
    return found ? 0 : -ENOENT;
}
