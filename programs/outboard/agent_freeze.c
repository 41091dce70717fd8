// SPDX-License-Identifier: BSD-3-Clause
/*
 * Freezes the guest's file systems while a command runs, such as one that takes a snapshot. They
 * are thawed when it ends, however it ends; and if this program is killed, or the channel breaks, by
 * the agent itself after --for.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_client.h"
#include "base/limits.h"
#include "command.h"

static volatile sig_atomic_t command_pid;

/* The keyboard's signals reach the command by themselves. */
static void pass_on(int number)
{
    if (command_pid > 0 && number != SIGINT)
        kill(command_pid, number);
}

static void handle_signals(void (*handler)(int number))
{
    const struct sigaction action = {.sa_handler = handler};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* The exit status, as a shell has it. */
static int run(struct client *client, char **command)
{
    int status;
    handle_signals(pass_on);
    pid_t pid = fork();
    if (pid == 0) {
        handle_signals(SIG_DFL);
        log_give_back_signals();
        close(client->fd);
        execvp(command[0], command);
        log_line("can't run %s: %s", command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    if (pid < 0) {
        client_say(client, "can't run %s: %s", command[0], strerror(errno));
        return 126;
    }
    command_pid = pid;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    command_pid = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* 0 or the exit status. */
static int ask(struct client *client, char **words)
{
    struct json_out request;
    struct json_document *answer = NULL;
    const struct json *value;
    json_out_init(&request, LIMIT_JSON_TEXT);
    int status = agent_client_write(client, words, &request);
    if (status == 0)
        status = agent_client_ask(client, &request, 2 * LIMIT_AGENT_FREEZE_S, &answer, &value);
    json_free(answer);
    json_out_free(&request);
    return status;
}

int agent_freeze(struct client *client, uint32_t for_s, char **command)
{
    char timeout[32];
    char freeze[] = "fsfreeze-freeze";
    char thaw[] = "fsfreeze-thaw";
    char *freeze_words[] = {freeze, timeout, NULL};
    char *thaw_words[] = {thaw, NULL};
    snprintf(timeout, sizeof(timeout), "timeout=%u", for_s);
    int status = ask(client, freeze_words);
    if (status != 0)
        return EXIT_NOT_REACHED;
    status = run(client, command);
    return ask(client, thaw_words) == 0 ? status : EXIT_NOT_REACHED;
}
