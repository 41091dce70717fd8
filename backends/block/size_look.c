// SPDX-License-Identifier: BSD-3-Clause
#include "block/size_look.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

struct size_look {
    pthread_t thread;
    pthread_mutex_t lock; /* of the fields up to ends */
    pthread_cond_t asked;
    uint64_t size;
    bool looks; /* it was asked, and has not found out yet */
    bool ends;  /* the thread does */
    bool left;  /* nobody joins the thread, which frees this */
    int fd;
};

static void destroy(struct size_look *look)
{
    pthread_cond_destroy(&look->asked);
    pthread_mutex_destroy(&look->lock);
    free(look);
}

static void *run(void *argument)
{
    struct size_look *look = argument;
    pthread_mutex_lock(&look->lock);
    while (!look->ends) {
        if (!look->looks) {
            pthread_cond_wait(&look->asked, &look->lock);
            continue;
        }
        struct stat status;
        pthread_mutex_unlock(&look->lock);
        bool is_known = fstat(look->fd, &status) == 0;
        pthread_mutex_lock(&look->lock);
        if (is_known)
            look->size = (uint64_t)status.st_size;
        look->looks = false;
    }
    bool is_left = look->left;
    pthread_mutex_unlock(&look->lock);
    if (is_left)
        destroy(look);
    return NULL;
}

/* The thread takes no signals: they are the loop's. */
static int start_thread(struct size_look *look)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&look->thread, NULL, run, look);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

int size_look_new(int fd, uint64_t size, struct size_look **ret_look)
{
    struct size_look *look = calloc(1, sizeof(*look));
    if (!look)
        return -ENOMEM;
    look->fd = fd;
    look->size = size;
    pthread_mutex_init(&look->lock, NULL);
    pthread_cond_init(&look->asked, NULL);
    int err = start_thread(look);
    if (err < 0)
        destroy(look);
    else
        *ret_look = look;
    return err;
}

uint64_t size_look_take(struct size_look *look)
{
    pthread_mutex_lock(&look->lock);
    uint64_t size = look->size;
    if (!look->looks)
        pthread_cond_signal(&look->asked);
    look->looks = true;
    pthread_mutex_unlock(&look->lock);
    return size;
}

bool size_look_free(struct size_look *look)
{
    if (!look)
        return true;
    pthread_mutex_lock(&look->lock);
    bool looks = look->looks; /* or is about to */
    pthread_t thread = look->thread;
    look->ends = true;
    look->left = looks;
    pthread_cond_signal(&look->asked);
    pthread_mutex_unlock(&look->lock);
    if (looks) {
        pthread_detach(thread);
        return false;
    }
    pthread_join(thread, NULL);
    destroy(look);
    return true;
}
