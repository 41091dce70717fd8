// SPDX-License-Identifier: BSD-3-Clause
/* A client of a vfio-user remote that answers what the test lets it. */
#ifndef OUTBOARD_TESTS_UNIT_REMOTE_FIXTURE_H
#define OUTBOARD_TESTS_UNIT_REMOTE_FIXTURE_H

#include "remote/fake_remote.h"

#define RAM_AT  0x100000u
#define RAM_LEN (1u << 20)

struct fixture {
    struct fake_remote remote;
    struct ob_client *client;
};

static const struct ob_client_options fixture_defaults = {.size = sizeof(fixture_defaults)};

/* A client that has greeted its remote; with patience until then. */
void fixture_start_greeted(struct fixture *f, const struct ob_client_options *options);
/* A client that has probed its remote. @version: the text of the remote's VERSION, or NULL. */
void fixture_start_probed(struct fixture *f, const char *version);
void fixture_stop(struct fixture *f);

/* Lets the remote answer `count` messages while the call is made, and gives what it returns. */
#define FIXTURE_SERVED(f, count, call)                                                             \
    ({                                                                                             \
        fake_remote_serve(&(f)->remote, count);                                                    \
        const int result_ = (int)(call);                                                           \
        fake_remote_join(&(f)->remote);                                                            \
        result_;                                                                                   \
    })

int fixture_read_ids(struct fixture *f, uint32_t *ret_value);

/* Memory that the remote must ask for: RAM_LEN bytes at RAM_AT. */
uint8_t *fixture_lend_memory(struct fixture *f);
/* Asks for all of it, so that the answer fills the socket. */
void fixture_ask_for_memory(struct fake_remote *remote);
/* Memory that the remote can map, at RAM_AT. */
void fixture_map_file(struct fixture *f, uint64_t len);
/* Maps such memory and starts a log of it. */
void fixture_start_log(struct fixture *f, uint64_t len);

/* Reads up to so many bytes of what the client says; how many there were. */
size_t fixture_read_some(const struct fake_remote *remote, size_t len);

/* Waits for what the loop of the client has, and for nothing else. */
void fixture_dispatch(struct fixture *f);
void fixture_check_state(struct fixture *f, enum ob_client_state right);

#endif
