// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard save, outboard restore: states of a machine's devices, as files of a folder.
 *
 * NAME.state has the state of one device. The file `machine` has a line for each: name, length and
 * CRC-32C. It is written last, so that a folder without it is no saved machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "command.h"
#include "control_client.h"
#include "os/log.h"
#include "supervisor/config.h"
#include "wire/base64.h"

#define INDEX      "machine"
#define INDEX_HEAD "outboard devices 1\n"

struct folder {
    const char *path;
    int fd;
    FILE *index;
};

static void print_save_help(void)
{
    puts("usage: outboard save VM DIR\n"
         "\n"
         "Pauses the machine VM of `outboard run`, has its devices rest, and writes their states "
         "to\n"
         "the new folder DIR. The machine stays paused; `outboard ctl resume` lets it run.\n"
         "\n"
         "VM is a name, or the path of a control socket.");
}

static void print_restore_help(void)
{
    puts(
        "usage: outboard restore VM DIR\n"
        "\n"
        "Gives the devices of the machine VM, which must not run, the states that `outboard save`\n"
        "has written to DIR. `outboard ctl resume` lets the machine run.\n"
        "\n"
        "VM is a name, or the path of a control socket.");
}

static int complain(const struct folder *folder, const char *name, int err)
{
    log_line("%s/%s: %s", folder->path, name, strerror(err));
    return EXIT_FAILURE;
}

/* A device's name may come from anybody. */
static bool name_file(const char *device, char name[LIMIT_DEVICE_ID + 8])
{
    bool is_fine = config_is_id(device, strlen(device));
    snprintf(name, LIMIT_DEVICE_ID + 8, "%.*s.state", LIMIT_DEVICE_ID, device);
    return is_fine;
}

/* Asks for the piece at an offset. 0 or an exit status. */
static int ask_piece(struct control_client *client, const char *device, uint64_t offset,
                     struct json_document **ret_answer, const struct json **ret_value)
{
    char request[256];
    int len = snprintf(request, sizeof(request),
                       "{\"execute\": \"read-state\", \"arguments\": {\"device\": \"%s\", "
                       "\"offset\": %" PRIu64 "}}\n",
                       device, offset);
    return control_client_ask(client, request, (size_t)len, ret_answer, ret_value);
}

/* Appends a piece to the file. Its length, or a negative errno. */
static ssize_t write_piece(FILE *file, const char *data, uint32_t *crc)
{
    uint8_t bytes[LIMIT_STATE_PIECE];
    if (strlen(data) > base64_len(sizeof(bytes)))
        return -EPROTO;
    ssize_t len = base64_decode(data, strlen(data), bytes);
    if (len <= 0)
        return -EPROTO;
    *crc = crc32c(*crc, bytes, (size_t)len);
    return fwrite(bytes, 1, (size_t)len, file) == (size_t)len ? len : -EIO;
}

static int end_file(const struct folder *folder, FILE *file, const char *name, int status)
{
    bool failed = fflush(file) != 0 || fsync(fileno(file)) < 0;
    int err = errno;
    fclose(file);
    return status == 0 && failed ? complain(folder, name, err) : status;
}

static FILE *make_file(const struct folder *folder, const char *name)
{
    int fd = openat(folder->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        complain(folder, name, errno);
    return file;
}

static int save_device(struct control_client *client, const struct folder *folder,
                       const char *device, uint64_t len)
{
    char name[LIMIT_DEVICE_ID + 8];
    uint32_t crc = 0;
    int status = 0;
    FILE *file = name_file(device, name) ? make_file(folder, name) : NULL;
    if (!file)
        return EXIT_FAILURE;
    for (uint64_t at = 0; at < len && status == 0;) {
        struct json_document *answer;
        const struct json *value;
        status = ask_piece(client, device, at, &answer, &value);
        if (status != 0)
            break;
        ssize_t got = write_piece(file, control_text(value, "data"), &crc);
        json_free(answer);
        if (got < 0)
            status = complain(folder, name, (int)-got);
        else
            at += (uint64_t)got;
    }
    status = end_file(folder, file, name, status);
    if (status == 0) {
        fprintf(folder->index, "%s %" PRIu64 " %08" PRIx32 "\n", device, len, crc);
        printf("%s: %" PRIu64 " bytes\n", device, len);
    }
    return status;
}

static int save_all(struct control_client *client, struct folder *folder, const struct json *states)
{
    static const char draft[] = INDEX ".new";
    int status = 0;
    folder->index = make_file(folder, draft);
    if (!folder->index)
        return EXIT_FAILURE;
    fputs(INDEX_HEAD, folder->index);
    for (const struct json *one = states->type == JSON_ARRAY ? states->first : NULL;
         one && status == 0; one = one->next)
        status =
            save_device(client, folder, control_text(one, "device"), control_number(one, "length"));
    status = end_file(folder, folder->index, draft, status);
    if (status == 0 &&
        (renameat(folder->fd, draft, folder->fd, INDEX) < 0 || fsync(folder->fd) < 0))
        status = complain(folder, INDEX, errno);
    return status;
}

static int save(struct control_client *client, struct folder *folder)
{
    struct json_document *answer;
    const struct json *states;
    if (mkdir(folder->path, 0700) < 0 ||
        (folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        log_line("can't make the folder %s: %s", folder->path, strerror(errno));
        return EXIT_FAILURE;
    }
    int status = control_client_command(client, "save", &answer, &states);
    if (status != 0) {
        rmdir(folder->path);
        return status;
    }
    status = save_all(client, folder, states);
    json_free(answer);
    if (status != 0)
        log_line("the machine stays paused; `outboard ctl resume` lets it run");
    return status;
}

static int send_piece(struct control_client *client, const char *device, uint64_t offset,
                      const uint8_t *bytes, size_t len)
{
    struct json_out out;
    struct json_document *answer;
    const struct json *value;
    json_out_init(&out, LIMIT_MONITOR_REQUEST);
    json_out_begin(&out, '{');
    json_out_member_string(&out, "execute", "write-state");
    json_out_name(&out, "arguments");
    json_out_begin(&out, '{');
    json_out_member_string(&out, "device", device);
    json_out_member_uint(&out, "offset", offset);
    json_out_name(&out, "data");
    json_out_base64(&out, bytes, len);
    json_out_end(&out, '}');
    json_out_end(&out, '}');
    json_out_bytes(&out, "\n", 1);
    int status = json_out_done(&out) == 0
                     ? control_client_ask(client, out.bytes, out.len, &answer, &value)
                     : EXIT_FAILURE;
    if (status == 0)
        json_free(answer);
    json_out_free(&out);
    return status;
}

/* Checks the whole file before anything of it is sent. */
static int read_state(const struct folder *folder, const char *name, uint64_t len, uint32_t crc,
                      uint8_t **ret_bytes)
{
    AUTO_FD fd = openat(folder->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0)
        return complain(folder, name, errno);
    AUTO_FREE uint8_t *bytes = malloc(len + 1);
    if (!bytes || (uint64_t)stat.st_size != len || pread(fd, bytes, len, 0) != (ssize_t)len ||
        crc32c(0, bytes, len) != crc) {
        log_line("%s/%s: got %lld bytes or other bytes, expected the %" PRIu64 " of %s; save again",
                 folder->path, name, (long long)stat.st_size, len, INDEX);
        return EXIT_FAILURE;
    }
    *ret_bytes = take_ptr(&bytes);
    return 0;
}

static int restore_device(struct control_client *client, const struct folder *folder,
                          const char *device, uint64_t len, uint32_t crc)
{
    char name[LIMIT_DEVICE_ID + 8];
    AUTO_FREE uint8_t *bytes = NULL;
    if (!name_file(device, name) || len == 0 || len > LIMIT_STATE_BYTES)
        return complain(folder, INDEX, EPROTO);
    int status = read_state(folder, name, len, crc, &bytes);
    for (uint64_t at = 0; at < len && status == 0; at += LIMIT_STATE_PIECE)
        status = send_piece(client, device, at, bytes + at,
                            len - at < LIMIT_STATE_PIECE ? len - at : LIMIT_STATE_PIECE);
    return status;
}

static int restore_all(struct control_client *client, const struct folder *folder,
                       unsigned *ret_count)
{
    char line[256], device[LIMIT_DEVICE_ID + 1];
    int status = 0;
    if (!fgets(line, sizeof(line), folder->index) || strcmp(line, INDEX_HEAD) != 0)
        return complain(folder, INDEX, EPROTO);
    while (status == 0 && fgets(line, sizeof(line), folder->index)) {
        uint64_t len;
        uint32_t crc;
        if (sscanf(line, "%63s %" SCNu64 " %" SCNx32, device, &len, &crc) != 3)
            return complain(folder, INDEX, EPROTO);
        status = restore_device(client, folder, device, len, crc);
        *ret_count += 1;
    }
    return status;
}

static int restore(struct control_client *client, struct folder *folder)
{
    struct json_document *answer;
    const struct json *states;
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = folder->fd < 0 ? -1 : openat(folder->fd, INDEX, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    folder->index = fd < 0 ? NULL : fdopen(fd, "r");
    if (!folder->index) {
        log_line("%s/%s: %s; expected a folder that outboard save has written", folder->path, INDEX,
                 strerror(errno));
        return EXIT_FAILURE;
    }
    char request[80];
    unsigned count = 0;
    int status = restore_all(client, folder, &count);
    fclose(folder->index);
    int len = snprintf(request, sizeof(request),
                       "{\"execute\": \"restore\", \"arguments\": {\"count\": %u}}\n", count);
    if (status == 0)
        status = control_client_ask(client, request, (size_t)len, &answer, &states);
    if (status == 0)
        json_free(answer);
    return status;
}

static int run(int argc, char **argv, void (*print_help)(void),
               int (*work)(struct control_client *client, struct folder *folder))
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (argc != 3 || argv[1][0] == '-' || argv[2][0] == '-') {
        log_line("expected VM DIR (`outboard %s --help` tells more)", argv[0]);
        return EXIT_USAGE;
    }
    struct control_client client;
    struct folder folder = {.path = argv[2], .fd = -1};
    int status = control_client_open(argv[1], &client);
    if (status == 0)
        status = work(&client, &folder);
    auto_close(&folder.fd);
    control_client_close(&client);
    return status;
}

int cmd_save(int argc, char **argv)
{
    return log_start("outboard save") < 0 ? EXIT_FAILURE : run(argc, argv, print_save_help, save);
}

int cmd_restore(int argc, char **argv)
{
    return log_start("outboard restore") < 0 ? EXIT_FAILURE
                                             : run(argc, argv, print_restore_help, restore);
}
