// SPDX-License-Identifier: BSD-3-Clause
/* The subcommands of `outboard`: one file each, one row each in main.c. */
#ifndef OUTBOARD_PROGRAMS_COMMAND_H
#define OUTBOARD_PROGRAMS_COMMAND_H

#define EXIT_USAGE 2

/* argv[0] is the subcommand's name. Each returns the exit status. */
int cmd_adopt(int argc, char **argv);
int cmd_agent(int argc, char **argv);
int cmd_cells(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
int cmd_disk(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_keep(int argc, char **argv);
int cmd_pair(int argc, char **argv);
int cmd_poke(int argc, char **argv);
int cmd_proxy(int argc, char **argv);
int cmd_qemu_args(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_save(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);

#endif
