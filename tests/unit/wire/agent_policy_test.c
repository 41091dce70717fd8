// SPDX-License-Identifier: BSD-3-Clause
#include "wire/agent_policy.h"

#include "support.h"

#include <string.h>

#include "agent/command.h"

static void a_list_has_whole_names(void **state)
{
    const struct agent_policy policy = {.allow = "guest-ping,guest-exec-status,guest-sync"};
    assert_null(agent_policy_refusal(&policy, "guest-ping"));
    assert_null(agent_policy_refusal(&policy, "guest-sync"));
    assert_non_null(agent_policy_refusal(&policy, "guest-exec"));
    assert_non_null(agent_policy_refusal(&policy, "guest-sync-delimited"));
    assert_non_null(agent_policy_refusal(&policy, ""));
    assert_non_null(agent_policy_refusal(&policy, "guest-ping,guest-exec-status"));
}

static void a_block_wins(void **state)
{
    const struct agent_policy policy = {.allow = "guest-ping,guest-exec", .block = "guest-exec"};
    assert_null(agent_policy_refusal(&policy, "guest-ping"));
    assert_string_equal(agent_policy_refusal(&policy, "guest-exec"), "the command is blocked");
}

static void read_only_refuses_what_is_not_known(void **state)
{
    const struct agent_policy policy = {.read_only = true};
    assert_null(agent_policy_refusal(&policy, "guest-get-osinfo"));
    assert_non_null(agent_policy_refusal(&policy, "guest-exec"));
    assert_non_null(agent_policy_refusal(&policy, "guest-of-tomorrow"));
    assert_non_null(agent_policy_refusal(&policy, "guest-get-osinfo "));
}

static void a_policy_without_rules_refuses_nothing(void **state)
{
    const struct agent_policy policy = {0};
    assert_false(agent_policy_is_set(&policy));
    assert_null(agent_policy_refusal(&policy, "guest-shutdown"));
}

static void check_known(void *argument, const struct command *command)
{
    unsigned *count = argument;
    assert_true(agent_command_is_known(command->name));
    (*count)++;
}

/* The host's end knows all commands of the agent, and each that the agent carries out with a process
 * or a file of its own is one that changes, but for those that read. */
static void all_commands_are_known(void **state)
{
    unsigned count = 0;
    command_each(check_known, &count);
    assert_true(count > 40);
    assert_false(agent_command_is_known("guest-"));
    assert_false(agent_command_is_known("quit"));
    assert_true(agent_command_changes("guest-exec"));
    assert_true(agent_command_changes("guest-file-open"));
    assert_true(agent_command_changes("guest-fsfreeze-thaw"));
    assert_false(agent_command_changes("guest-get-file"));
}

static void a_list_of_names_is_checked(void **state)
{
    struct ob_fault fault = {0};
    assert_true(agent_policy_check_list("guest-ping,guest-exec", &fault));
    assert_false(agent_policy_check_list("guest-ping,guest-exce", &fault));
    assert_non_null(strstr(fault.text, "guest-exce"));
    assert_false(agent_policy_check_list("", &fault));
    assert_false(agent_policy_check_list("guest-ping,", &fault));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_has_whole_names),
        TEST(a_block_wins),
        TEST(read_only_refuses_what_is_not_known),
        TEST(a_policy_without_rules_refuses_nothing),
        TEST(all_commands_are_known),
        TEST(a_list_of_names_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
