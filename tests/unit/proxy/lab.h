// SPDX-License-Identifier: BSD-3-Clause
/*
 * Two proxies in one process, joined by a socket pair, with a folder for their sockets. A test
 * turns both until what it waits for is there.
 */
#ifndef OUTBOARD_TESTS_PROXY_LAB_H
#define OUTBOARD_TESTS_PROXY_LAB_H

#include "proxy/proxy.h"

#define LAB_WORDS     32
#define LAB_TEXT_LEN  2048
#define LAB_PATH_LEN  64
#define LAB_OURS      0
#define LAB_THE_OTHER 1

struct lab_end {
    struct proxy proxy;
    struct proxy_options options;
    char text[LAB_TEXT_LEN]; /* the words of its command line */
    char *argv[LAB_WORDS];
    int channel;   /* its end of the socket pair */
    bool has_pair; /* and closes that; else the test does */
};

struct lab {
    struct lab_end ends[2];
    unsigned num_proxies; /* the first ends */
    char folder[LAB_PATH_LEN];
    void (*turn_other)(void *argument); /* in the place of the other proxy */
    void *argument;
};

/* Starts both with these options; "@" in them stands for the folder. One that is given a channel
 * (-c) does not use the socket pair. */
void lab_start(struct lab *lab, const char *ours, const char *other);
/* Starts ours only. The other end of the channel is the test's: what it does in its turns. */
void lab_start_one(struct lab *lab, const char *ours, void (*turn)(void *argument), void *argument);
void lab_stop(struct lab *lab);

/* Turns both until the condition holds; fails the test when it never does. */
void lab_until(struct lab *lab, bool (*holds)(void *argument), void *argument);
/* Until a session stands at both. */
void lab_until_up(struct lab *lab);

/* The path of a name in the folder. */
const char *lab_path(const struct lab *lab, const char *name, char ret_path[108]);
/* A client of a socket in the folder, and a socket that listens there: non-blocking. */
int lab_connect(const struct lab *lab, const char *name);
int lab_listen(const struct lab *lab, const char *name);
/* The next connection to it. */
int lab_accept(struct lab *lab, int listener);

void lab_send(int fd, const void *bytes, size_t len);
/* Turns until exactly these bytes have come. */
void lab_expect(struct lab *lab, int fd, const void *bytes, size_t len);
void lab_expect_text(struct lab *lab, int fd, const char *text);
/* Turns until the end of file, before which nothing comes. */
void lab_expect_end(struct lab *lab, int fd);
/* Turns until a line has come, which is returned without its newline. */
void lab_read_line(struct lab *lab, int fd, char *ret_line, size_t size);

#endif
