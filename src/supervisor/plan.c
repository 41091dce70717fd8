// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/plan.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/auto.h"
#include "base/number.h"
#include "supervisor/control_group.h"
#include "supervisor/program_path.h"
#include "supervisor/qemu_device.h"

#define DEFAULT_VMM "qemu-system-x86_64"
#define MEMORY_ID   "outboard-memory"

/* A plan in the making. */
struct planner {
    struct plan *plan;
    const struct vmm_ability *ability;
    const char *folder;
    bool named[LIMIT_DEVICES]; /* by an argument of the VMM's */
    struct ob_fault *fault;
};

static int wrong(const struct planner *planner, const struct config_setting *setting,
                 const char *expected)
{
    return ob_fault_set(planner->fault, -EINVAL, "%.80s:%u: %.40s: got '%.60s', expected %.120s",
                        planner->plan->config->path, setting->line, setting->key, setting->value,
                        expected);
}

static int check_memory(struct planner *planner, int err)
{
    return err == -ENOMEM ? ob_fault_set(planner->fault, err, "no memory for the plan") : err;
}

static int add_words(struct planner *planner, struct words *words,
                     const struct config_setting *setting)
{
    int err = words_split(words, setting->value);
    return err == -EINVAL ? wrong(planner, setting, "a closing ' for each ' in it")
                          : check_memory(planner, err);
}

/* A channel is a proxy at descriptor 3, by a port that its VMM keeps. */
static int add_proxy(struct planner *planner, struct plan_device *device)
{
    char path[PATH_MAX];
    if (program_path_find("outboard", path, sizeof(path)) < 0)
        return ob_fault_set(planner->fault, -ENOENT, "[channel \"%s\"]: can't find outboard",
                            device->id);
    int err = words_add_all(&device->command, (const char *[]){path, "proxy", NULL});
    return check_memory(
        planner,
        err < 0 ? err : words_add(&device->command, "--channel=fd:%d,line", PLAN_FIRST_FD));
}

/* The device's program, the words that come first. `outboard disk` is a command of ours. */
static int add_program(struct planner *planner, struct plan_device *device,
                       const struct config_section *section)
{
    char path[PATH_MAX];
    const char *name = config_value(section, "program");
    if (!name)
        return ob_fault_set(planner->fault, -EINVAL,
                            "%.80s:%u: [device \"%s\"]: got no program; give program = \"nvme\"",
                            planner->plan->config->path, section->line, section->id);
    bool disk = strcmp(name, "disk") == 0;
    if (program_path_find(disk ? "outboard" : name, path, sizeof(path)) < 0)
        return ob_fault_set(planner->fault, -ENOENT,
                            "[device \"%s\"]: program: got '%.60s', expected a program of this "
                            "installation, a program on PATH, or a path",
                            section->id, name);
    return check_memory(planner, words_add_all(&device->command,
                                               (const char *[]){path, disk ? "disk" : NULL, NULL}));
}

static int take_on_death(struct planner *planner, struct plan_device *device,
                         const struct config_setting *setting)
{
    bool restart = strcmp(setting->value, "restart") == 0;
    if (!restart && strcmp(setting->value, "fail") != 0)
        return wrong(planner, setting, "restart or fail");
    if (restart && device->socket == PLAN_PATH)
        return wrong(planner, setting,
                     "fail: a device with a socket-path and no [machine] makes its own socket");
    device->on_death = restart ? PLAN_DEATH_RESTART : PLAN_DEATH_FAIL;
    return 1;
}

/* A key of the supervisor's own. Returns 1 if it is one, 0 if not, or a negative errno. */
static int take_own(struct planner *planner, struct plan_device *device,
                    const struct config_setting *setting)
{
    uint64_t number;
    if (plan_is_monitor_key(setting->key))
        return 1;
    if (device->is_channel)
        return strcmp(setting->key, "port") == 0;
    if (strcmp(setting->key, "watchdog-ms") == 0) {
        if (number_parse(setting->value, 10, LIMIT_WATCHDOG_MS, &number) < 0 || number < 2)
            return wrong(planner, setting, "milliseconds from 2 to 3600000");
        device->watchdog_ms = (unsigned)number;
        return 1;
    }
    if (strcmp(setting->key, "on-death") == 0)
        return take_on_death(planner, device, setting);
    if (strcmp(setting->key, "restart-limit") == 0) {
        if (number_parse(setting->value, 10, LIMIT_RESTART_LIMIT, &number) < 0 || number == 0)
            return wrong(planner, setting, "restarts within a minute, from 1 to 1000000");
        device->restart_limit = (unsigned)number;
        return 1;
    }
    return strcmp(setting->key, "spare") == 0 || strcmp(setting->key, "on-hang") == 0 ||
           control_group_has_key(setting->key);
}

static int add_option(struct planner *planner, struct plan_device *device,
                      const struct config_setting *setting)
{
    if (strcmp(setting->key, "program") == 0 ||
        strncmp(setting->key, QEMU_DEVICE_PREFIX, strlen(QEMU_DEVICE_PREFIX)) == 0)
        return 0;
    if (strcmp(setting->key, "arguments") == 0)
        return add_words(planner, &device->command, setting);
    if (strcmp(setting->key, "fd") == 0 ||
        (device->is_channel && strcmp(setting->key, "channel") == 0))
        return wrong(planner, setting, "no such key: outboard run makes the device's socket");
    int own = take_own(planner, device, setting);
    if (own != 0)
        return own < 0 ? own : 0;
    return check_memory(planner,
                        words_add(&device->command, "--%s=%s", setting->key, setting->value));
}

/* Whether the VMM's arguments name %socket:ID%. */
static bool wants_path(const struct config *config, const char *id)
{
    char place[LIMIT_DEVICE_ID + 16];
    snprintf(place, sizeof(place), "%%socket:%s%%", id);
    for (unsigned i = 0; i < config->machine.count; i++)
        if (strcmp(config->machine.settings[i].key, "arguments") == 0 &&
            strstr(config->machine.settings[i].value, place))
            return true;
    return false;
}

static int choose_socket(struct planner *planner, struct plan_device *device,
                         const struct config_section *section)
{
    const struct config *config = planner->plan->config;
    const char *path = config_value(section, "socket-path");
    bool by_path = device->vhost_user || (planner->ability->qemu ? planner->ability->vfio_user
                                                                 : wants_path(config, section->id));
    if (device->is_channel && plan_vmm(config)) {
        device->socket = PLAN_PAIR;
        return 0;
    }
    if (device->is_channel)
        return ob_fault_set(
            planner->fault, -EINVAL,
            "%.80s:%u: [channel \"%s\"]: got no [machine] that would have its port; "
            "start outboard proxy instead",
            config->path, section->line, section->id);
    if (!path && !plan_vmm(config))
        return ob_fault_set(planner->fault, -EINVAL,
                            "%.80s:%u: [device \"%s\"]: got no socket-path, and no [machine] that "
                            "would connect to it; give one of them",
                            config->path, section->line, section->id);
    device->socket = path ? PLAN_PATH : by_path ? PLAN_LISTENER : PLAN_PAIR;
    if (device->socket == PLAN_PAIR)
        return 0;
    int len = path ? asprintf(&device->path, "%s", path)
                   : asprintf(&device->path, "%s/%s", planner->folder, section->id);
    if (len < 0)
        return check_memory(planner, -ENOMEM);
    if ((size_t)len >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return ob_fault_set(planner->fault, -EINVAL,
                            "[device \"%s\"]: got a socket at %.100s, expected a path of at most "
                            "107 bytes; give a shorter name or socket-path",
                            section->id, device->path);
    return 0;
}

static int fill_device(struct planner *planner, const struct config_section *section,
                       struct plan_device *device)
{
    const char *wire = config_value(section, "wire");
    *device = (struct plan_device){.id = section->id,
                                   .section = section,
                                   .is_channel = section->is_channel,
                                   .vhost_user = wire && strcmp(wire, "vhost-user") == 0,
                                   .restart_limit = LIMIT_RESTARTS_A_MINUTE};
    int err = choose_socket(planner, device, section);
    if (err == 0)
        err = section->is_channel ? add_proxy(planner, device)
                                  : add_program(planner, device, section);
    for (unsigned i = 0; i < section->count && err == 0; i++)
        err = add_option(planner, device, &section->settings[i]);
    if (err == 0)
        err = plan_take_monitor(planner->plan->config->path, section, device, planner->fault);
    if (err == 0 && !device->is_channel)
        err = plan_take_policies(planner->plan->config->path, section, planner->ability->qemu,
                                 device, planner->fault);
    if (err == 0 && device->socket != PLAN_PATH && !device->is_channel)
        err = check_memory(planner, words_add(&device->command, "--fd=%d", PLAN_FIRST_FD));
    return err;
}

static int add_device(struct planner *planner, const struct config_section *section)
{
    return fill_device(planner, section, &planner->plan->devices[planner->plan->device_count++]);
}

/* The value of QEMU's -device, to be freed. */
static int describe(struct planner *planner, unsigned number, char **ret_text)
{
    const struct plan_device *device = &planner->plan->devices[number];
    const struct config_section *section = &planner->plan->config->devices[number];
    if (!planner->ability->qemu)
        return ob_fault_set(planner->fault, -EINVAL,
                            "[device \"%s\"]: got a VMM that is not QEMU; name %%fd:%s%% or "
                            "%%socket:%s%% in its arguments",
                            device->id, device->id, device->id);
    if (device->is_channel || device->vhost_user) {
        *ret_text = device->is_channel ? qemu_device_channel(device, section)
                                       : qemu_device_vhost_user(device, section);
        return *ret_text ? 0
                         : ob_fault_set(planner->fault, -EINVAL,
                                        "[device \"%s\"]: got a program without a front end of "
                                        "QEMU, expected vmm.driver beside wire = \"vhost-user\"",
                                        device->id);
    }
    if (!planner->ability->vfio_user && device->path)
        return ob_fault_set(planner->fault, -EINVAL,
                            "[device \"%s\"]: socket-path: QEMU's x-pci-proxy-dev takes no path; "
                            "leave it out, or use QEMU 10.1 or later",
                            device->id);
    if (!planner->ability->vfio_user && !planner->ability->mpqemu)
        return ob_fault_set(planner->fault, -EINVAL,
                            "[machine]: program: got a QEMU with neither vfio-user-pci nor "
                            "x-pci-proxy-dev, expected one of them");
    *ret_text = planner->ability->vfio_user ? qemu_device_vfio_user(device, section)
                                            : qemu_device_mpqemu(device, section);
    return *ret_text ? 0 : check_memory(planner, -ENOMEM);
}

static int find_device(const struct plan *plan, const char *id, size_t len)
{
    for (unsigned i = 0; i < plan->device_count; i++)
        if (strncmp(plan->devices[i].id, id, len) == 0 && !plan->devices[i].id[len])
            return (int)i;
    return -1;
}

/* The text of a place, to be freed. */
static int fill_place(struct planner *planner, const struct config_setting *setting,
                      const char *kind, unsigned number, char **ret_text)
{
    const struct plan_device *device = &planner->plan->devices[number];
    planner->named[number] = true;
    if (strncmp(kind, "device:", 7) == 0)
        return describe(planner, number, ret_text);
    if (strncmp(kind, "fd:", 3) == 0 && device->socket == PLAN_PAIR)
        return asprintf(ret_text, "%d", device->fd) < 0 ? check_memory(planner, -ENOMEM) : 0;
    if (strncmp(kind, "socket:", 7) == 0 && device->path)
        return (*ret_text = strdup(device->path)) ? 0 : check_memory(planner, -ENOMEM);
    return wrong(planner, setting, "%fd:NAME% or %socket:NAME%, as its VMM takes");
}

/* A place is %KIND:NAME%; anything else with a % stays as it is. Returns its length, or 0. */
static size_t place_len(const char *text, const char **ret_id)
{
    static const char *const kinds[] = {"%device:", "%fd:", "%socket:"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i]);
        const char *end = strncmp(text, kinds[i], len) == 0 ? strchr(text + len, '%') : NULL;
        if (!end)
            continue;
        *ret_id = text + len;
        return (size_t)(end + 1 - text);
    }
    return 0;
}

/* Replaces the places of a word by their texts. */
static int fill_word(struct planner *planner, const struct config_setting *setting, char **word)
{
    char *text = NULL;
    size_t size, len;
    int err = 0;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return check_memory(planner, -ENOMEM);
    for (const char *at = *word, *id; *at && err == 0; at += len) {
        AUTO_FREE char *filled = NULL;
        if ((len = place_len(at, &id)) == 0) {
            fputc(*at, file);
            len = 1;
            continue;
        }
        int number = find_device(planner->plan, id, (size_t)(at + len - 1 - id));
        err = number < 0 ? wrong(planner, setting, "the name of a [device] in each %...%")
                         : fill_place(planner, setting, at + 1, (unsigned)number, &filled);
        if (err == 0)
            fputs(filled, file);
    }
    if (fclose(file) != 0 && err == 0)
        err = check_memory(planner, -ENOMEM);
    free(err < 0 ? text : *word);
    if (err == 0)
        *word = text;
    return err;
}

static int add_arguments(struct planner *planner, const struct config_setting *setting)
{
    struct words *vmm = &planner->plan->vmm;
    unsigned first = vmm->count;
    int err = add_words(planner, vmm, setting);
    for (unsigned i = first; i < vmm->count && err == 0; i++)
        err = fill_word(planner, setting, &vmm->word[i]);
    return err;
}

/* Memory that device processes can map. */
static int add_memory(struct planner *planner, struct words *words,
                      const struct config_setting *setting)
{
    if (!planner->ability->qemu)
        return wrong(planner, setting, "no such key: this VMM is not QEMU; give its own option");
    if (setting->value[strspn(setting->value, "0123456789kKmMgGtT")] || !*setting->value)
        return wrong(planner, setting, "a size as of QEMU's -m, 1G for example");
    AUTO_FREE char *object = NULL;
    if (asprintf(&object, "memory-backend-memfd,id=" MEMORY_ID ",size=%s,share=on",
                 setting->value) < 0)
        return check_memory(planner, -ENOMEM);
    return check_memory(
        planner,
        words_add_all(words, (const char *[]){"-m", setting->value, "-object", object, "-machine",
                                              "memory-backend=" MEMORY_ID, NULL}));
}

static int add_machine_setting(struct planner *planner, const struct config_setting *setting)
{
    static const char *const others[] = {"program", "wire", "name", "control",
                                         "on-supervisor-death"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(setting->key, others[i]) == 0)
            return 0;
    if (socket_access_has_key("control", setting->key))
        return 0;
    if (strcmp(setting->key, "arguments") == 0)
        return add_arguments(planner, setting);
    if (strcmp(setting->key, "memory") == 0)
        return add_memory(planner, &planner->plan->vmm, setting);
    return wrong(planner, setting,
                 "one of the keys program, memory, wire, name, control, control-mode, "
                 "control-owner, on-supervisor-death, arguments");
}

/* A -device refers to them: the bus of channels, and a chardev. */
static int add_chardevs(struct planner *planner, struct words *words)
{
    const struct plan *plan = planner->plan;
    bool has_bus = false;
    int err = 0;
    for (unsigned i = 0; i < plan->device_count && err == 0 && planner->ability->qemu; i++) {
        const struct plan_device *device = &plan->devices[i];
        if (device->is_channel && !has_bus)
            err = words_add_all(words, (const char *[]){"-device", QEMU_DEVICE_SERIAL_BUS, NULL});
        has_bus |= device->is_channel;
        AUTO_FREE char *text = qemu_device_chardev(device);
        if (err == 0 && text)
            err = words_add_all(words, (const char *[]){"-chardev", text, NULL});
    }
    return check_memory(planner, err);
}

static int add_front_ends(struct planner *planner, struct words *words)
{
    int err = add_chardevs(planner, words);
    for (unsigned i = 0; i < planner->plan->device_count && err == 0; i++) {
        AUTO_FREE char *text = NULL;
        if (planner->named[i])
            continue;
        err = describe(planner, i, &text);
        if (err == 0)
            err = check_memory(planner,
                               words_add_all(words, (const char *[]){"-device", text, NULL}));
    }
    return err;
}

/* QEMU serves QMP on a listener that we pass as the last descriptor. */
static int add_qmp(struct plan *plan, int fd)
{
    if (asprintf(&plan->qmp, "%s/.qmp", plan->folder) < 0)
        return -ENOMEM;
    int err = words_add(&plan->vmm, "-chardev");
    err = err ? err : words_add(&plan->vmm, "socket,id=outboard-qmp,fd=%d,server=on,wait=off", fd);
    err = err ? err : words_add(&plan->vmm, "-mon");
    return err ? err : words_add(&plan->vmm, "chardev=outboard-qmp,mode=control");
}

static int add_machine(struct planner *planner)
{
    struct plan *plan = planner->plan;
    const struct config_section *machine = &plan->config->machine;
    int fd = PLAN_FIRST_FD;
    for (unsigned i = 0; i < plan->device_count; i++)
        if (plan->devices[i].socket == PLAN_PAIR)
            plan->devices[i].fd = fd++;
    int err = check_memory(planner, words_add(&plan->vmm, "%s", plan_vmm(plan->config)));
    if (err == 0 && planner->ability->qemu)
        err = check_memory(planner, add_qmp(plan, fd));
    for (unsigned i = 0; i < machine->count && err == 0; i++)
        err = add_machine_setting(planner, &machine->settings[i]);
    return err < 0 ? err : add_front_ends(planner, &plan->vmm);
}

/* The wire of [machine], if the VMM has it. */
static int choose_wire(struct planner *planner, struct vmm_ability *ability)
{
    const struct config_section *machine = &planner->plan->config->machine;
    for (unsigned i = 0; i < machine->count; i++) {
        const struct config_setting *setting = &machine->settings[i];
        if (strcmp(setting->key, "wire") != 0 || strcmp(setting->value, "auto") == 0)
            continue;
        bool mpqemu = strcmp(setting->value, "mpqemu") == 0;
        if (!mpqemu && strcmp(setting->value, "vfio-user") != 0)
            return wrong(planner, setting, "auto, mpqemu or vfio-user");
        if (ability->qemu && !(mpqemu ? ability->mpqemu : ability->vfio_user))
            return wrong(planner, setting, "a wire that this QEMU has, or auto");
        ability->mpqemu = mpqemu;
        ability->vfio_user = !mpqemu;
    }
    return 0;
}

static int add_devices(struct planner *planner)
{
    const struct config *config = planner->plan->config;
    int err = 0;
    if (config->device_count == 0)
        err =
            ob_fault_set(planner->fault, -EINVAL,
                         "%.80s: got no device; give at least one [device \"NAME\"]", config->path);
    for (unsigned i = 0; i < config->device_count && err == 0; i++)
        err = add_device(planner, &config->devices[i]);
    return err;
}

/* The file's name without its folder and its ending. */
static char *name_of_file(const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot = strrchr(name, '.');
    return strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static int name_machine(struct planner *planner)
{
    struct plan *plan = planner->plan;
    const struct config *config = plan->config;
    const char *name = config_value(&config->machine, "name");
    const char *control = config_value(&config->machine, "control");
    plan->folder = strdup(planner->folder);
    plan->machine = name ? strdup(name) : name_of_file(config->path);
    int len = control ? asprintf(&plan->control, "%s", control)
                      : asprintf(&plan->control, "%s/.control", planner->folder);
    if (!plan->folder || !plan->machine || len < 0)
        return check_memory(planner, -ENOMEM);
    if ((size_t)len >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return ob_fault_set(planner->fault, -EINVAL,
                            "[machine]: control: got a path of %d bytes, expected at most 107",
                            len);
    return socket_access_read(config->path, &config->machine, "control", &plan->control_access,
                              planner->fault);
}

const char *plan_vmm(const struct config *config)
{
    const char *program = config_value(&config->machine, "program");
    return config->machine.line == 0 ? NULL : program ? program : DEFAULT_VMM;
}

int plan_make(const struct config *config, const struct vmm_ability *ability, const char *folder,
              struct plan **ret_plan, struct ob_fault *fault)
{
    struct vmm_ability chosen = *ability;
    struct plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return ob_fault_set(fault, -ENOMEM, "no memory for the plan");
    plan->config = config;
    struct planner planner = {.plan = plan, .ability = &chosen, .folder = folder, .fault = fault};
    int err = choose_wire(&planner, &chosen);
    if (err == 0)
        err = plan_take_supervisor_death(config, &plan->ends_with_supervisor, fault);
    plan->ability = chosen;
    if (err == 0)
        err = name_machine(&planner);
    if (err == 0)
        err = add_devices(&planner);
    if (err == 0 && plan_vmm(config))
        err = add_machine(&planner);
    if (err < 0)
        plan_free(plan);
    else
        *ret_plan = plan;
    return err;
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (unsigned i = 0; i < LIMIT_DEVICES; i++)
        plan_device_done(&plan->devices[i]);
    words_done(&plan->vmm);
    free(plan->folder);
    free(plan->machine);
    free(plan->control);
    free(plan->qmp);
    free(plan);
}

void plan_device_done(struct plan_device *device)
{
    words_done(&device->command);
    free(device->path);
    free(device->monitor);
    *device = (struct plan_device){0};
}

int plan_device_make(const struct plan *plan, const struct config_section *section,
                     struct plan_device *ret_device, struct ob_fault *fault)
{
    struct plan view = {.config = plan->config, .ability = plan->ability};
    struct planner planner = {
        .plan = &view, .ability = &plan->ability, .folder = plan->folder, .fault = fault};
    struct plan_device device;
    int err = fill_device(&planner, section, &device);
    if (err == 0 && device.vhost_user && plan->vmm.count > 0)
        err = ob_fault_set(
            fault, -EINVAL,
            "wire: got vhost-user, expected another: only devices of the file have it");
    if (err < 0)
        plan_device_done(&device);
    else
        *ret_device = device;
    return err;
}

/* A device to which QEMU connects by path. */
static int add_listener(struct planner *planner, const struct config_section *section)
{
    struct plan_device *device = &planner->plan->devices[planner->plan->device_count++];
    const char *wire = config_value(section, "wire");
    *device = (struct plan_device){.id = section->id,
                                   .vhost_user = wire && strcmp(wire, "vhost-user") == 0};
    if (section->is_channel)
        return ob_fault_set(planner->fault, -EINVAL,
                            "%.80s:%u: [channel \"%s\"]: got a channel, expected devices alone: "
                            "start outboard proxy beside QEMU",
                            planner->plan->config->path, section->line, section->id);
    if (!config_value(section, "socket-path"))
        return ob_fault_set(planner->fault, -EINVAL,
                            "%.80s:%u: [device \"%s\"]: got no socket-path, expected one: QEMU "
                            "connects by path",
                            planner->plan->config->path, section->line, section->id);
    return choose_socket(planner, device, section);
}

int plan_qemu_arguments(const struct config *config, bool memory, struct words *arguments,
                        struct ob_fault *fault)
{
    static const struct vmm_ability ability = {.qemu = true, .vfio_user = true};
    struct plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return ob_fault_set(fault, -ENOMEM, "no memory for the plan");
    plan->config = config;
    struct planner planner = {.plan = plan, .ability = &ability, .folder = "", .fault = fault};
    int err = 0;
    for (unsigned i = 0; i < config->device_count && err == 0; i++)
        err = add_listener(&planner, &config->devices[i]);
    for (unsigned i = 0; i < config->machine.count && memory && err == 0; i++)
        if (strcmp(config->machine.settings[i].key, "memory") == 0)
            err = add_memory(&planner, arguments, &config->machine.settings[i]);
    if (err == 0)
        err = add_front_ends(&planner, arguments);
    plan_free(plan);
    return err;
}
