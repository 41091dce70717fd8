// SPDX-License-Identifier: BSD-3-Clause
/* A file system that does not tell the size: fstat(2) of the code under test is the test's own, and
 * waits for as long as the test says. */
#include "block/size_look.h"

#include "support.h"

#include <sched.h>
#include <semaphore.h>
#include <sys/stat.h>

static sem_t asked, answered;
static uint64_t true_size;

int fstat(int fd, struct stat *ret_status)
{
    sem_post(&asked);
    while (sem_wait(&answered) < 0) {}
    ret_status->st_size = (off_t)true_size;
    return 0;
}

static void wait_for(sem_t *event)
{
    while (sem_wait(event) < 0) {}
}

static unsigned count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    unsigned count = 0;
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* A thread that is left frees what it has before it ends. */
static void wait_for_threads(unsigned count)
{
    while (count_threads() > count)
        sched_yield();
}

static struct size_look *start(uint64_t size)
{
    struct size_look *look = NULL;
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    assert_int_equal(size_look_new(0, size, &look), 0);
    return look;
}

static void a_size_is_found_while_nobody_waits(void **state)
{
    unsigned threads = count_threads();
    struct size_look *look = start(1);
    true_size = 2;
    assert_int_equal(size_look_take(look), 1);
    wait_for(&asked);
    assert_int_equal(size_look_take(look), 1); /* and nothing is asked twice */
    sem_post(&answered);
    while (size_look_take(look) != 2)
        sched_yield();
    size_look_free(look); /* the last take has asked again, and the thread may still look */
    sem_post(&answered);
    wait_for_threads(threads);
}

static void a_look_that_hangs_is_left(void **state)
{
    unsigned threads = count_threads();
    struct size_look *look = start(1);
    size_look_take(look);
    wait_for(&asked);
    assert_false(size_look_free(look));
    sem_post(&answered);
    wait_for_threads(threads);
}

static void a_look_that_rests_is_ended(void **state)
{
    assert_true(size_look_free(start(1)));
    assert_true(size_look_free(NULL));
}

/* The thread may see at the same time that it was asked and that it ends. It frees the look then too:
 * the sanitizer finds a leak otherwise. */
static void a_look_is_left_before_it_begins(void **state)
{
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    for (unsigned i = 0; i < 200; i++) {
        struct size_look *look = NULL;
        assert_int_equal(size_look_new(0, 1, &look), 0);
        size_look_take(look);
        size_look_free(look); /* or it had its answer already: one of an earlier round */
        sem_post(&answered);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_size_is_found_while_nobody_waits), TEST(a_look_that_hangs_is_left),
        TEST(a_look_that_rests_is_ended),
        TEST(a_look_is_left_before_it_begins), /* last: answers are left over */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
